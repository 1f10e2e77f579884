"""Collects processes whose parent died, so that no zombie stays behind.

A node that gets SIGKILL leaves Chrome's processes behind; they end by themselves, but somebody must collect them,
and a first process in a container often does not.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_INTERVAL_SECONDS = 0.5


@contextlib.asynccontextmanager
async def collecting_orphans(own: Callable[[], Collection[int]]) -> AsyncIterator[None]:
    """Adopt and collect orphaned descendants within the block; `own` names children that somebody waits for."""
    _be_subreaper(True)
    task = asyncio.create_task(_collect_for_ever(own), name="collect orphans")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(_collect, set(own()), _zombies())
        _be_subreaper(False)


async def _collect_for_ever(own: Callable[[], Collection[int]]) -> None:
    seen: set[int] = set()
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        zombies = await asyncio.to_thread(_zombies)
        # A child of somebody else in this process is collected within milliseconds by whoever started it.
        await asyncio.to_thread(_collect, set(own()), zombies & seen)
        seen = zombies


def _collect(own: set[int], zombies: set[int]) -> None:
    for pid in zombies - own:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _zombies() -> set[int]:
    """Return the children of this process that ended and were not collected, without those of its own session."""
    session = os.getsid(0)
    found = set()
    for pid in _children():
        with contextlib.suppress(OSError, IndexError):
            # After the name, which may hold blanks and parentheses: state, parent, group, session.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[3]) != session:
                found.add(pid)
    return found


def _children() -> set[int]:
    children: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            children.update(int(pid) for pid in (thread / "children").read_text().split())
    return children


def _be_subreaper(on: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
