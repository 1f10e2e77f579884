"""`python -m reaper` closes what outlives its deadline."""

import asyncio
import os

from fleetkit.lifecycle import run_service
from reaper import bootstrap
from reaper.settings import Settings


async def _main(stop: asyncio.Event) -> None:
    await bootstrap.run(Settings.from_env(os.environ), stop)


if __name__ == "__main__":
    run_service("reaper", _main)
