"""What a person may choose about a local stack."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_stack.state import default_state_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """A port of 0 means any free one, the last one when it is still free.

    `environment` holds more settings by service (`session-api`, `browser-node`, `artifact-store`, `reaper`), by node
    (`node-1`) where one differs, and wins over what the stack sets.
    """

    state_dir: Path = field(default_factory=default_state_dir)
    http_port: int = 0
    grpc_port: int = 0
    nodes: int = 2
    slots: int = 4
    # On each node; each takes the memory of a browser with a blank page.
    warm_browsers: int = 1
    allow_no_sandbox: bool = False
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def parse(arguments: Sequence[str] | None = None) -> StackOptions:
    """Read the command line; each option may also be a variable, `LOCAL_STACK_HTTP_PORT` for `--http-port`."""
    parser = argparse.ArgumentParser(
        prog="python -m local_stack", description="Runs the whole fleet on this machine, on loopback only."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start, print the URL and the key, and stay until Ctrl-C")
    up.add_argument("--state-dir", type=Path, default=_from_env("STATE_DIR", str(default_state_dir())))
    up.add_argument("--http-port", type=_port, default=_from_env("HTTP_PORT", "0"), help="0: any free port")
    up.add_argument("--grpc-port", type=_port, default=_from_env("GRPC_PORT", "0"), help="0: any free port")
    up.add_argument("--nodes", type=_count, default=_from_env("NODES", "2"), help="browser-nodes to run")
    up.add_argument(
        "--slots", type=_count, default=_from_env("SLOTS", "4"), help="sessions that each node has room for"
    )
    up.add_argument(
        "--warm-browsers",
        type=_number,
        default=_from_env("WARM_BROWSERS", "1"),
        help="browsers that stand ready on each node",
    )
    up.add_argument(
        "--allow-no-sandbox", action="store_true", help="let browsers run where their sandbox cannot be had"
    )
    chosen = parser.parse_args(arguments)
    return StackOptions(
        state_dir=chosen.state_dir.absolute(),
        http_port=chosen.http_port,
        grpc_port=chosen.grpc_port,
        nodes=chosen.nodes,
        slots=chosen.slots,
        warm_browsers=chosen.warm_browsers,
        allow_no_sandbox=chosen.allow_no_sandbox,
    )


def _from_env(name: str, default: str) -> str:
    return os.environ.get(f"LOCAL_STACK_{name}", default)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("at least 0")
    return number
