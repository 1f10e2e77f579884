"""One program that is kept running: a process that ends is replaced, after a pause that grows."""

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from local_stack.processes import Command, describe_exit, kill_group, spawn, tail, terminate

log = logging.getLogger(__name__)

_PROBE_INTERVAL_SECONDS = 0.05
_PROBE_TIMEOUT_SECONDS = 5.0
# sysexits.h: the configuration is wrong, and another start would find it as wrong.
_EX_CONFIG = 78
_MOST_FAILED_STARTS = 5


class StartFailed(Exception):
    """A program did not get ready; the message ends with the last lines of its log."""


class Program(Protocol):
    """Something to keep running."""

    @property
    def name(self) -> str: ...

    async def prepare(self) -> None:
        """Bring its files into order; called before every start. An OSError counts as a failed start."""
        ...

    def command(self) -> Command: ...

    async def ready(self) -> bool:
        """Tell whether it serves now. Any error counts as no."""
        ...

    async def ended(self) -> None:
        """Remove what it leaves outside its folder; called when it has stopped for good."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How long to wait before a program that died starts again: doubling, until one life was long enough."""

    first: timedelta = timedelta(seconds=0.2)
    most: timedelta = timedelta(seconds=5)
    steady_after: timedelta = timedelta(seconds=10)

    def next_pause(self, *, previous: timedelta | None, lived: timedelta) -> timedelta:
        if previous is None or lived >= self.steady_after:
            return self.first
        return min(previous * 2, self.most)


class ManagedProcess:
    """A program and its present process.

    A program that was ready once is started again for ever; one that never was gives up after a few tries.
    """

    def __init__(self, program: Program, *, log_file: Path, back_off: BackOff | None = None) -> None:
        self.program = program
        self.log_file = log_file
        self.starts = 0
        self._back_off = back_off or BackOff()
        self._process: asyncio.subprocess.Process | None = None
        self._command: Command | None = None
        self._ready = asyncio.Event()
        self._ever_ready = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process that runs now; None between two lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def start(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        """Start, and return when it is ready. Raises StartFailed; nothing runs then."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        try:
            await self.wait_ready(timeout=timeout)
        except BaseException:
            await self.stop()
            raise

    async def wait_ready(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        """Return when the program serves. Raises StartFailed when it does not in time, or gave up."""
        if self._keeper is None:
            raise StartFailed(f"{self.name} was not started")
        waiter = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                [waiter, self._keeper], timeout=timeout.total_seconds(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiter.cancel()
        if self._ready.is_set():
            return
        if self._keeper.done() and not self._keeper.cancelled():
            self._keeper.result()
        raise StartFailed(await self._message(f"was not ready after {timeout.total_seconds():g} s"))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process that runs now; after SIGKILL `wait_ready` waits for its successor."""
        if self._process is None or self._process.returncode is not None:
            return
        if number == signal.SIGKILL:
            self._ready.clear()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self) -> None:
        """End the process and do not replace it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._ready.clear()
        if self._process is not None and self._command is not None:
            await terminate(self._process, self._command)
            await self.program.ended()

    async def _keep(self) -> None:
        pause: timedelta | None = None
        failed_starts = 0
        while True:
            started = time.monotonic()
            ending, final = await self._one_life()
            failed_starts += 1
            if not self._ever_ready and (final or failed_starts >= _MOST_FAILED_STARTS):
                raise StartFailed(await self._message(ending))
            pause = self._back_off.next_pause(previous=pause, lived=timedelta(seconds=time.monotonic() - started))
            log.warning("%s %s; it starts again in %g s", self.name, ending, pause.total_seconds())
            await asyncio.sleep(pause.total_seconds())

    async def _one_life(self) -> tuple[str, bool]:
        """Run one process from its start to its end; return how it ended, and whether another try is futile."""
        try:
            await self.program.prepare()
            self._command = self.program.command()
            self._process = await spawn(self._command, self.log_file)
        except OSError as error:
            return f"could not be started: {error}", False
        self.starts += 1
        probing = asyncio.create_task(self._probe(self._process))
        try:
            returncode = await self._process.wait()
        finally:
            probing.cancel()
        self._ready.clear()
        # What the dead process left behind would hold its ports and its locks.
        kill_group(self._process.pid)
        return f"ended with {describe_exit(returncode)}", returncode == _EX_CONFIG

    async def _probe(self, process: asyncio.subprocess.Process) -> None:
        started = time.monotonic()
        while not await self._answers():  # noqa: ASYNC110  # another process cannot set our event
            await asyncio.sleep(_PROBE_INTERVAL_SECONDS)
        self._ever_ready = True
        self._ready.set()
        log.info("%s is ready after %.2f s (pid %d)", self.name, time.monotonic() - started, process.pid)

    async def _answers(self) -> bool:
        try:
            return await asyncio.wait_for(self.program.ready(), _PROBE_TIMEOUT_SECONDS)
        except Exception as error:
            log.debug("%s is not ready: %r", self.name, error)
            return False

    async def _message(self, what: str) -> str:
        lines = await asyncio.to_thread(tail, self.log_file)
        return f"{self.name} {what}; its log is {self.log_file}\n{lines}"
