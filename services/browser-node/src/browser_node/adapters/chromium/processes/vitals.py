"""Watches over a browser that is up: tells that it has ended, hangs or has used up what it may, and why."""

import asyncio
import logging
import math
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Never

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.processes.folders import disk_usage
from browser_node.adapters.chromium.processes.processes import read_process
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.domain.browser import BrowserEnd, CloseReason

log = logging.getLogger(__name__)

_TICK = timedelta(seconds=0.9)
# Ticks without a word from a browser that was asked for one. Ticks and not time: when the node itself stood still,
# its browsers are not to blame. One that works, or waits for a processor, gets longer: its pages may keep it from it.
_SILENT_TICKS = 5
_STARVED_TICKS = 30
# Every so many ticks, and every tick while the last look found more than half of what the session may use.
_DISK_TICKS = 5
# A process that the kernel ended for memory takes its time to be gone: what it holds is given back first.
_OOM_MEMORY = timedelta(seconds=5)
_EXIT_CODE_TIMEOUT = timedelta(seconds=1)
# A disk with less than this left is full for Chrome: it does not open its databases any more.
_NO_ROOM_BYTES = 1 << 20


class Vitals:
    """The state of one browser's processes and folders."""

    def __init__(self, tree: BrowserTree, multiplexer: Multiplexer, closed: asyncio.Event) -> None:
        self._tree = tree
        self._multiplexer = multiplexer
        self._closed = closed
        self._oom_kills = 0
        # Monotonic seconds of the look that found the last one.
        self._oom_time = -math.inf

    async def ended(self) -> BrowserEnd:
        """Wait until the browser has ended by itself, or has to."""
        gone = [asyncio.ensure_future(wait) for wait in (self._closed.wait(), self._tree.exited())]
        judged = [asyncio.ensure_future(wait) for wait in (self._hangs(), self._fills_disk())]
        counting = asyncio.ensure_future(self._count_oom_kills())
        waits = {*gone, *judged, counting}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for verdict in judged:
                if verdict in done:
                    return verdict.result()
            return await self._cause()
        finally:
            for wait in waits:
                wait.cancel()

    async def _cause(self) -> BrowserEnd:
        """Say why a browser that is gone, or about to be, has ended."""
        await self._tree.exited_within(_EXIT_CODE_TIMEOUT)
        code = self._tree.exit_code
        await asyncio.to_thread(self._new_oom_kills)
        if code == -signal.SIGKILL and time.monotonic() - self._oom_time < _OOM_MEMORY.total_seconds():
            return BrowserEnd(CloseReason.OUT_OF_MEMORY, "The browser used more memory than a session may.")
        if await asyncio.to_thread(_has_no_room, self._tree.folders.root):
            return BrowserEnd(CloseReason.DISK_FULL, "The browser ended on a full disk.")
        how = "" if code is None else f" with signal {-code}" if code < 0 else f" with code {code}"
        return BrowserEnd(CloseReason.BROWSER_CRASHED, f"The browser ended by itself{how}.")

    async def _hangs(self) -> BrowserEnd:
        silent = 0
        question: asyncio.Task[object] | None = None
        try:
            while silent < _SILENT_TICKS or (silent < _STARVED_TICKS and _is_runnable(self._tree.pid)):
                if question is None:
                    question = asyncio.create_task(self._ask())
                seen = self._multiplexer.messages_seen
                await asyncio.sleep(_TICK.total_seconds())
                # Busy with something else is not hanging.
                silent = silent + 1 if self._multiplexer.messages_seen == seen else 0
                if question.done():
                    question = None
            return BrowserEnd(CloseReason.BROWSER_CRASHED, "The browser stopped answering.")
        finally:
            if question is not None:
                question.cancel()

    async def _ask(self) -> None:
        try:
            await self._multiplexer.call("Browser.getVersion")
        except CdpError:
            # It is gone; its exit tells.
            await asyncio.Event().wait()

    async def _fills_disk(self) -> BrowserEnd:
        enclosure = self._tree.enclosure
        if enclosure is None:
            raise RuntimeError("there is no browser yet")
        limit = enclosure.limits.disk_bytes
        used = 0
        while used <= limit:
            ticks = 1 if used * 2 > limit else _DISK_TICKS
            await asyncio.sleep(_TICK.total_seconds() * ticks)
            used = await asyncio.to_thread(disk_usage, self._tree.folders.root)
        return BrowserEnd(CloseReason.DISK_FULL, "The session used more disk than a session may.")

    async def _count_oom_kills(self) -> Never:
        while True:
            if count := await asyncio.to_thread(self._new_oom_kills):
                log.warning("out of memory: the kernel ended %d processes of a browser", count)
            await asyncio.sleep(_TICK.total_seconds())

    def _new_oom_kills(self) -> int:
        enclosure = self._tree.enclosure
        if enclosure is None or enclosure.group is None:
            return 0
        before, self._oom_kills = self._oom_kills, enclosure.group.oom_kills()
        if self._oom_kills > before:
            self._oom_time = time.monotonic()
        return self._oom_kills - before


def _is_runnable(pid: int) -> bool:
    main = read_process(pid)
    return main is not None and main.runnable


def _has_no_room(folder: Path) -> bool:
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < _NO_ROOM_BYTES
