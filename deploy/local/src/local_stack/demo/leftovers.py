"""Which processes are there that should not be."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import psutil

from local_stack.demo.checks import expect


def descendants() -> list[psutil.Process]:
    """Return every process that this one started, directly or not."""
    return [process for process in psutil.Process().children(recursive=True) if _alive(process)]


def browsers_beyond(ready: int) -> list[psutil.Process]:
    """Return the main processes of the browsers among them, when there are more than stand ready for sessions.

    A helper that has outlived its browser counts as one.
    """
    chromes = {process.pid: process for process in descendants() if "chrom" in _name(process)}
    mains = [process for process in chromes.values() if _parent(process) not in chromes]
    return mains if len(mains) > ready else []


def survivors(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; a new process under an old number is not one of them."""
    return [process for process in processes if _alive(process)]


async def expect_none(find: Callable[[], Sequence[psutil.Process]], *, within: timedelta) -> float:
    """Wait until `find` finds nothing, and return the seconds that took. Raises NotSeen with what is left."""
    begin = time.monotonic()
    while found := await asyncio.to_thread(find):
        waited = time.monotonic() - begin
        expect(waited < within.total_seconds(), "still there: " + ", ".join(f"{_name(p)} ({p.pid})" for p in found))
        await asyncio.sleep(0.1)
    return time.monotonic() - begin


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return process.ppid()
    return None


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return "?"
