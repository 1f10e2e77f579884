"""Orphans of ended browsers come to the node, not to the machine's first process, and are collected here.

A browser's helpers outlive it for a moment. Where the first process of a container does not collect strangers, each
would stay as a zombie.
"""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

from browser_node.adapters.chromium.processes import read_process

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
        zombies = {pid for pid in _children() if (info := read_process(pid)) is not None and info.zombie}
        for pid in zombies & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = zombies - self._seen


def _children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found
