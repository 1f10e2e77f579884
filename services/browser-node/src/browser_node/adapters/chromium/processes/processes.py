"""Processes of the machine, found by number, user and session, never by name."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process: `session` is its session's number, `start_ticks` tells it from a later one of the same number.

    One that is `runnable` works, or would if it had a processor.
    """

    pid: int
    user: int
    session: int
    start_ticks: int
    zombie: bool
    runnable: bool = False


def read_process(pid: int) -> ProcessInfo | None:
    """Return what is known of a process, None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
        user = (_PROC / str(pid)).stat().st_uid
    except OSError:
        return None
    # The command in parentheses may hold anything; fields are counted from behind its last one (proc(5)).
    fields = text[text.rindex(")") + 2 :].split()
    state = fields[0]
    return ProcessInfo(pid, _real_user(pid, user), int(fields[3]), int(fields[19]), state == "Z", state == "R")


def _real_user(pid: int, folder_owner: int) -> int:
    """A process that may not be traced has a folder that root owns; its status tells the user."""
    if folder_owner != 0:
        return folder_owner
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    except OSError:
        pass
    return folder_owner


def all_processes() -> Iterator[ProcessInfo]:
    """Yield every process that can be seen."""
    for entry in os.listdir(_PROC):  # noqa: PTH208  # plain names are all that is needed, for hundreds of entries
        if entry.isdigit():
            info = read_process(int(entry))
            if info is not None:
                yield info


def end_processes(matches: Callable[[ProcessInfo], bool], *, within: timedelta) -> bool:
    """Send SIGKILL to every process that matches until none is left but zombies. Blocks; False when time ran out.

    Repeated, because a process may start another between the look and the signal.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        alive = [info for info in all_processes() if matches(info) and not info.zombie]
        if not alive:
            return True
        for info in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(info.pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


async def exited(pid: int) -> int | None:
    """Wait until a child has exited, collect it and return its code; the number of a signal is negative.

    The child must not have been collected before; None when somebody else collects it meanwhile.
    """
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    try:
        collected, result = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # does not wait
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(result) if collected else None
