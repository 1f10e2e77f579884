"""One child process: started in its own session, its output in a file, ended with its parent."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).with_name("guard.py")
_MOST_LOG_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user and group that a program runs as; the starter must be root."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and how to end it."""

    argv: tuple[str, ...]
    # The whole environment of the process; None hands over this process's own.
    env: Mapping[str, str] | None = None
    folder: Path | None = None
    user: User | None = None
    # Goes before everything else: a program that execs the rest of its arguments.
    prefix: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    # What the kernel sends when the supervisor dies. Nobody is left to insist, so the default cannot be ignored.
    death_signal: signal.Signals = signal.SIGKILL
    stop_timeout: timedelta = field(default=timedelta(seconds=10))

    def guarded(self) -> list[str]:
        """Return the arguments that run this command so that it ends with the calling process."""
        user = self.user or User(user_id=-1, group_id=-1)
        numbers = (os.getpid(), int(self.death_signal), user.user_id, user.group_id)
        guard = (sys.executable, "-I", "-S", str(_GUARD), *(str(number) for number in numbers))
        return [*self.prefix, *guard, *self.argv]


async def spawn(command: Command, log: Path, *, keep_output: bool = False) -> asyncio.subprocess.Process:
    """Start `command` with its output appended to `log`; with `keep_output`, stdout is a pipe to us instead.

    Raises OSError when it cannot be started.
    """
    output = await asyncio.to_thread(_open_log, log)
    try:
        return await asyncio.create_subprocess_exec(
            *command.guarded(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if keep_output else output,
            stderr=output,
            env=command.env,
            cwd=command.folder,
            start_new_session=True,
        )
    finally:
        await asyncio.to_thread(output.close)


async def terminate(process: asyncio.subprocess.Process, command: Command) -> None:
    """End a process: its stop signal first, SIGKILL for its whole group after the timeout."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(command.stop_signal)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), command.stop_timeout.total_seconds())
    kill_group(process.pid)
    await process.wait()


def kill_group(pid: int) -> None:
    """Send SIGKILL to what is left of the process group that `pid` led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, for a message to a person."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _MOST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
