"""The log files of all processes as one prefixed stream for a person."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

_INTERVAL_SECONDS = 0.1
_NAME_WIDTH = 15
# The servers talk to their own developers; what they say is in their files.
_SILENT = {"postgres", "nats", "s3"}
# What every line carries, or what a person at a console does not need.
_HIDDEN = {"ts", "level", "svc", "msg", "logger", "trace_id", "span_id", "error"}


@contextlib.asynccontextmanager
async def following(logs: Path, out: TextIO) -> AsyncIterator[None]:
    """Within the block, print what the services append to their log files, each line behind its file's name."""
    follower = _Follower(logs)
    await asyncio.to_thread(follower.skip_to_end)
    task = asyncio.create_task(_follow(follower, out), name="follow logs")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        _print(await asyncio.to_thread(follower.new_lines), out)


async def _follow(follower: "_Follower", out: TextIO) -> None:
    while True:
        _print(await asyncio.to_thread(follower.new_lines), out)
        await asyncio.sleep(_INTERVAL_SECONDS)


def _print(lines: list[str], out: TextIO) -> None:
    if lines:
        print("\n".join(lines), file=out, flush=True)


class _Follower:
    """Reads files that grow; a line is told once it is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._positions: dict[Path, int] = {}

    def skip_to_end(self) -> None:
        self._positions = {path: path.stat().st_size for path in self._files()}

    def new_lines(self) -> list[str]:
        lines: list[str] = []
        for path in self._files():
            lines.extend(f"{path.stem:<{_NAME_WIDTH}}| {readable(line)}" for line in self._read(path))
        return lines

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.log") if path.stem not in _SILENT)

    def _read(self, path: Path) -> Iterator[str]:
        position = self._positions.get(path, 0)
        if path.stat().st_size < position:
            position = 0  # A new file took the place of one that had grown too large.
        with path.open("rb") as file:
            file.seek(position)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._positions[path] = position + len(complete) + len(newline)
        yield from complete.decode(errors="replace").splitlines()


def readable(line: str) -> str:
    """Return a JSON log line in a person's form, and any other line as it is."""
    try:
        fields = json.loads(line)
        text = f"{fields['level']:<7} {fields['msg']}"
    except (ValueError, TypeError, KeyError):
        return line
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _HIDDEN)
    error = f"\n{fields['error']}" if "error" in fields else ""
    return f"{text}{'  ' if rest else ''}{rest}{error}"


def log_to(out: TextIO) -> None:
    """Print what the stack itself does in the same form."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(f"{'stack':<{_NAME_WIDTH}}| %(message)s"))
    logger = logging.getLogger("local_stack")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
