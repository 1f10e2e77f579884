"""What one browser occupies on the machine, from the first folder to the last process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.chromium.cdp.pipe import Pipe, PipeEnds, PipeReader
from browser_node.adapters.chromium.confinement.confinement import Confinement, Enclosure
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.chromium.processes.accounts import Accounts
from browser_node.adapters.chromium.processes.folders import BrowserFolders, Scratch
from browser_node.adapters.chromium.processes.process import ChromeProcess, log_tail

log = logging.getLogger(__name__)


class BrowserTree:
    """A browser's folders, processes and pipe. `remove` takes all of it away, however far `plant` came."""

    def __init__(self, *, scratch: Scratch, accounts: Accounts, confinement: Confinement) -> None:
        self._scratch = scratch
        self._accounts = accounts
        self._confinement = confinement
        self._place = accounts.take()
        self._planting: asyncio.Task[PipeEnds] | None = None
        self._process: ChromeProcess | None = None
        self._pipe: Pipe | None = None
        self._removed = False
        self._last: list[Callable[[], Awaitable[None]]] = []
        self._exited = asyncio.Event()
        self.exit_code: int | None = None
        self.enclosure: Enclosure | None = None
        self._watch: asyncio.Task[None] | None = None
        self.folders = BrowserFolders(Path())

    @property
    def user(self) -> int | None:
        return self._accounts.user_of(self._place)

    @property
    def pid(self) -> int:
        """The main process. Only after `plant`."""
        if self._process is None:
            raise RuntimeError("there is no process yet")
        return self._process.pid

    async def plant(self, program: Program, reader: PipeReader, *, flags: Sequence[str] = ()) -> Pipe:
        """Make the folders, start the processes and open the pipe. Raises OSError."""
        # A task of its own: a caller that is cancelled leaves it to `remove` to wait for.
        self._planting = asyncio.create_task(asyncio.to_thread(self._plant, program, flags))
        ends = await asyncio.shield(self._planting)
        self._pipe = await Pipe.open(ends, reader)
        self._watch = asyncio.create_task(self._wait_exit())
        return self._pipe

    def _plant(self, program: Program, flags: Sequence[str]) -> PipeEnds:
        self.folders = self._scratch.make(self._place, self.user)
        if program.template is not None:
            program.template.copy(self.folders.profile, self.user)
        ends = PipeEnds.create()
        command = program.command(self.folders.profile, flags)
        try:
            self.enclosure = self._confinement.enclose(self.folders, self.user)
            self._process = ChromeProcess.spawn(command, self.folders, self.user, ends, self.enclosure)
        except OSError:
            ends.close_node_ends()
            raise
        self._scratch.record(self.folders, self._process.pid)
        return ends

    async def _wait_exit(self) -> None:
        if self._process is not None:
            self.exit_code = await self._process.exited()
        self._exited.set()

    async def exited(self) -> None:
        """Wait until the main process has ended. Only after `plant`."""
        await self._exited.wait()

    async def exited_within(self, limit: timedelta) -> bool:
        """Tell whether the main process ends by itself in time."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    async def fell(self) -> None:
        """End every process now and close the pipe. Files stay."""
        if self._process is not None and not await self._process.end():
            log.error("processes of a browser do not end", extra={"pid": self._process.pid})
        if self._pipe is not None:
            self._pipe.close()
        if self._watch is not None:
            await self._exited.wait()
            if self._process is not None:
                await self._process.collect()

    def finally_do(self, action: Callable[[], Awaitable[None]]) -> None:
        """Let `remove` do something more once no process is left. It must not raise."""
        self._last.append(action)

    async def log_tail(self) -> str:
        return await asyncio.to_thread(log_tail, self.folders.log)

    async def remove(self) -> None:
        """End every process, wipe every folder, give the place back."""
        if self._removed:
            return
        self._removed = True
        if self._planting is not None:
            await asyncio.wait({self._planting})
            if self._pipe is None and self._planting.exception() is None:
                self._planting.result().close_node_ends()
        await self.fell()
        if self._process is not None and self._watch is None:
            await self._process.exited()
        if self.enclosure is not None and self.enclosure.group is not None:
            await asyncio.to_thread(self.enclosure.group.remove)
        for action in self._last:
            await action()
        if self.folders.root != Path():
            await asyncio.to_thread(self._scratch.wipe, self.folders)
        self._accounts.give_back(self._place)
