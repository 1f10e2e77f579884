"""`python -m artifact_store` serves; `python -m artifact_store migrate` brings the database up to date."""

import asyncio
import os
import sys

from artifact_store import bootstrap
from artifact_store.settings import Settings
from fleetkit.lifecycle import run_service
from fleetkit.postgres import dsn_from_env


async def _serve(stop: asyncio.Event) -> None:
    await bootstrap.run(Settings.from_env(os.environ), stop)


async def _migrate(_: asyncio.Event) -> None:
    await bootstrap.migrate(dsn_from_env(os.environ))


_COMMANDS = {"serve": _serve, "migrate": _migrate}


def main(arguments: list[str]) -> int:
    command = _COMMANDS.get(arguments[0] if arguments else "serve")
    if command is None or len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 64
    run_service("artifact-store", command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
