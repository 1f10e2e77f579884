"""`python -m browser_node`: hosts browsers until it is told to stop."""

import os

from browser_node.bootstrap import run
from browser_node.settings import Settings
from fleetkit.lifecycle import Stop, run_service


async def main(stop: Stop) -> None:
    """Read the settings and serve."""
    await run(Settings.from_env(os.environ), stop)


if __name__ == "__main__":
    run_service("browser-node", main)
