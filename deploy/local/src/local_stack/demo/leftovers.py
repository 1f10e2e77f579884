"""Which processes are there that should not be."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import psutil

from local_stack.demo.checks import expect

# A browser's main process and its helpers.
Family = list[psutil.Process]


def descendants() -> list[psutil.Process]:
    """Return every process that this one started, directly or not."""
    return [process for process in psutil.Process().children(recursive=True) if _alive(process)]


def browsers() -> list[Family]:
    """Return the browsers among them, those of sessions and those that stand ready, each with its helpers."""
    mains = [process for process in descendants() if _is_browser(process)]
    return [[main, *main.children(recursive=True)] for main in mains]


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


async def expect_one_ended(seen: Sequence[Family], *, within: timedelta) -> float:
    """Wait until one of the browsers has ended with all its helpers, and return the seconds that took. Raises NotSeen."""
    begin = time.monotonic()
    while all(survivors(family) for family in seen):
        expect(time.monotonic() - begin < within.total_seconds(), f"each of {len(seen)} browsers still runs")
        await asyncio.sleep(0.1)
    return time.monotonic() - begin


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _is_browser(process: psutil.Process) -> bool:
    """Tell a browser's main process from its helpers, which end with it."""
    with contextlib.suppress(psutil.Error):
        arguments = process.cmdline()
        return "--remote-debugging-pipe" in arguments and not any(one.startswith("--type=") for one in arguments)
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return "?"
