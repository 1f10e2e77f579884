"""What processes use: processor time, memory, sockets, and how much of the machine others took meanwhile."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import psutil

MEGABYTE = 1e6
# With more of the machine than this in others' hands, a figure says as much about them.
_QUIET_CORES = 0.15
_GLANCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Processor time so far, in seconds, at one moment: by part, of this whole run, and of the machine."""

    at: float
    parts: Mapping[str, float]
    run: float
    machine: float

    def since(self, before: "Reading") -> "Used":
        """Return what was used between an earlier reading and this one."""
        elapsed = self.at - before.at
        others = (self.machine - before.machine) - (self.run - before.run)
        return Used(
            seconds=elapsed,
            parts={name: cpu - before.parts[name] for name, cpu in self.parts.items()},
            others=max(0.0, others) / elapsed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Processor time by part, in seconds, over `seconds`; `others` is how many cores the rest of the machine took."""

    seconds: float
    parts: Mapping[str, float]
    others: float

    def cores(self, part: str) -> float:
        return self.parts[part] / self.seconds

    def beyond(self, resting: "Used") -> "Used":
        """Return what was used beyond what the same parts use at rest in as much time."""
        parts = {name: seconds - resting.cores(name) * self.seconds for name, seconds in self.parts.items()}
        return replace(self, parts=parts)

    def each(self, count: int) -> dict[str, timedelta]:
        """Return each part's processor time for one of `count` things that were done."""
        return {name: timedelta(seconds=seconds / max(1, count)) for name, seconds in self.parts.items()}


def read(parts: Mapping[str, Iterable[psutil.Process]]) -> Reading:
    """Read the processor time of each part's processes with their children."""
    return Reading(
        at=time.monotonic(),
        parts={name: sum(_cpu(process) for process in processes) for name, processes in parts.items()},
        run=_cpu(psutil.Process()),
        machine=_busy(),
    )


async def wait_for_quiet(within: timedelta) -> None:
    """Return when the rest of the machine is nearly idle, or else when the time is over."""
    end = time.monotonic() + within.total_seconds()
    while time.monotonic() < end:
        before = read({})
        await asyncio.sleep(_GLANCE_SECONDS)
        if read({}).since(before).others < _QUIET_CORES:
            return


def megabytes(process: psutil.Process) -> float:
    """Return a process's memory; what several processes share is counted once."""
    return float(process.memory_full_info().pss) / MEGABYTE


def sockets(process: psutil.Process) -> int:
    """Return how many TCP connections a process has."""
    connections = process.net_connections(kind="tcp")
    return sum(1 for connection in connections if connection.status == psutil.CONN_ESTABLISHED)


def _cpu(process: psutil.Process) -> float:
    # Children that have ended count in their parent, which outlives them.
    times = process.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += own.user + own.system + own.children_user + own.children_system
    return total


def _busy() -> float:
    # Without niced programs, which give way to everything here.
    times = psutil.cpu_times()
    busy: float = times.user + times.system + times.irq + times.softirq
    return busy
