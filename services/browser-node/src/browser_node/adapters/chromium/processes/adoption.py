"""Orphans of ended browsers come to the node, not to the machine's first process, and are collected here.

A browser's helpers outlive it for a moment. Where the first process of a container does not collect strangers, each
would stay as a zombie.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from browser_node.adapters.chromium.processes.processes import ProcessInfo, read_process

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, for the rest of its life."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


class OrphanCollector:
    """Collects ended children that nobody waits for."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    async def collect(self) -> None:
        """Do one pass. A zombie is taken at its second sight, so that whoever waits for it comes first."""
        await asyncio.to_thread(self._collect)

    def _collect(self) -> None:
        zombies = {info.pid for info in _zombies()}
        for pid in zombies & self._seen:
            _wait_for(pid)
        self._seen = zombies - self._seen


def collect_zombies(matches: Callable[[ProcessInfo], bool]) -> None:
    """Collect ended children that match now: nobody may be waiting for them."""
    for info in _zombies():
        if matches(info):
            _wait_for(info.pid)


def _zombies() -> list[ProcessInfo]:
    infos = map(read_process, _children())
    return [info for info in infos if info is not None and info.zombie]


def _wait_for(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found
