"""Keeps a set of programs running: started group by group, stopped in reverse."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from local_stack.managed import BackOff, ManagedProcess, Program, StartFailed
from local_stack.processes import Command, describe_exit, kill_group, spawn, tail, terminate

log = logging.getLogger(__name__)


class Supervisor:
    """A block; at its end every process has ended, the last started first."""

    def __init__(self, *, logs: Path, back_off: BackOff | None = None) -> None:
        self._logs = logs
        self._back_off = back_off
        self._groups: list[list[ManagedProcess]] = []

    @property
    def processes(self) -> list[ManagedProcess]:
        return [process for group in self._groups for process in group]

    def process(self, name: str) -> ManagedProcess:
        """Return the process of one program. Raises KeyError."""
        for process in self.processes:
            if process.name == name:
                return process
        raise KeyError(f"no process is named {name}; there are {', '.join(p.name for p in self.processes)}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, *programs: Program, timeout: timedelta = timedelta(seconds=60)) -> None:
        """Start programs that do not need each other, and return when all are ready. Raises StartFailed."""
        group = [
            ManagedProcess(program, log_file=self._logs / f"{program.name}.log", back_off=self._back_off)
            for program in programs
        ]
        self._groups.append(group)
        results = await asyncio.gather(*(process.start(timeout=timeout) for process in group), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def run_once(self, name: str, command: Command, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        """Run a command to its end, its output in its log. Raises StartFailed unless it exits with 0."""
        log_file = self._logs / f"{name}.log"
        process = await spawn(command, log_file)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                ending = f"ended with {describe_exit(await process.wait())}"
        except TimeoutError:
            ending = f"did not end in {timeout.total_seconds():g} s"
        finally:
            await terminate(process, command)
        if process.returncode != 0:
            lines = await asyncio.to_thread(tail, log_file)
            raise StartFailed(f"{name} {ending}; its log is {log_file}\n{lines}")

    async def output_of(self, name: str, command: Command, *, timeout: timedelta = timedelta(seconds=60)) -> str:
        """Run a command to its end and return what it printed. Raises StartFailed unless it exits with 0."""
        log_file = self._logs / f"{name}.log"
        process = await spawn(command, log_file, keep_output=True)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                output, _ = await process.communicate()
        except TimeoutError:
            output = b""
        finally:
            await terminate(process, command)
        if process.returncode != 0:
            lines = await asyncio.to_thread(tail, log_file)
            raise StartFailed(
                f"{name} ended with {describe_exit(process.returncode or 0)}; its log is {log_file}\n{lines}"
            )
        return output.decode()

    async def stop(self) -> None:
        """Stop all, the last group first."""
        while self._groups:
            group = self._groups[-1]
            log.info("stopping %s", ", ".join(process.name for process in group))
            await asyncio.gather(*(process.stop() for process in group))
            self._groups.pop()

    def pids(self) -> set[int]:
        """Return the processes that run now, which nobody else should wait for."""
        return {process.pid for process in self.processes if process.pid is not None}

    def kill(self) -> None:
        """Kill what still runs, for a person who does not want to wait for `stop`, which then returns soon."""
        for pid in self.pids():
            kill_group(pid)
