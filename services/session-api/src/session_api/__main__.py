"""`python -m session_api`: serves; with a command, administers."""

import argparse
import asyncio
import os
import sys
from datetime import timedelta

from fleetkit.lifecycle import EX_CONFIG, run_service
from fleetkit.postgres import dsn_from_env
from fleetkit.settings import SettingsError
from session_api import bootstrap
from session_api.domain.caller import Scope
from session_api.domain.identifiers import OrganizationId
from session_api.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m session_api", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="serve until SIGTERM (the default)")
    commands.add_parser("migrate", help="bring the database up to this version")
    key = commands.add_parser("create-key", help="make an API key and print it, once")
    key.add_argument("--organization", required=True, help="its organization (o_…), made where there is none")
    key.add_argument("--scope", required=True, choices=[scope.lower() for scope in Scope])
    key.add_argument("--name", default="", help="its name for people")
    key.add_argument("--max-timeout", type=int, help="cap on the organization's session lifetimes, in seconds")
    arguments = parser.parse_args()
    if arguments.command in {None, "serve"}:
        run_service("session-api", lambda stop: bootstrap.run(Settings.from_env(os.environ), stop))
        return 0
    try:
        dsn = dsn_from_env(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    if arguments.command == "migrate":
        for name in asyncio.run(bootstrap.migrate(dsn)):
            print(f"applied {name}")
        return 0
    cap = arguments.max_timeout
    print(
        asyncio.run(
            bootstrap.create_key(
                dsn,
                organization_id=OrganizationId(arguments.organization),
                scope=Scope(arguments.scope.upper()),
                display_name=arguments.name,
                max_timeout=timedelta(seconds=cap) if cap else None,
            )
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
