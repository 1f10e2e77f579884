"""How busy the machine is, read from /proc, the node's own control group, and its disks."""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from browser_node.usecases.ports import Pressure

# A minute of measurements, one every 5 s.
_MEASUREMENTS = 13
# user nice system idle iowait irq softirq steal; the times of guests, which follow, are in user and nice already.
_TIMES = 8
_IDLE, _IOWAIT = 3, 4


class LinuxMachine:
    """A Machine; `measure` is to be called every 5 s."""

    def __init__(
        self,
        *,
        disks: Sequence[Path] = (),
        proc: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        # Folders on the disks that matter.
        self._disks = disks
        self._proc = proc
        self._cgroups = cgroups
        # Processor time since the machine's start in ticks: in use, in all.
        self._times: deque[tuple[int, int]] = deque(maxlen=_MEASUREMENTS)
        self._pressure: Pressure | None = None
        self._disk_used = 0.0

    @property
    def pressure(self) -> Pressure | None:
        return self._pressure

    @property
    def disk_used(self) -> float:
        return self._disk_used

    async def measure(self) -> None:
        """Measure once. Raises OSError."""
        times, memory, self._disk_used = await asyncio.to_thread(self._read)
        self._times.append(times)
        (busy_then, all_then), (busy_now, all_now) = self._times[0], self._times[-1]
        # A share of time takes two looks at it.
        if all_now > all_then:
            self._pressure = Pressure(cpu=_share(busy_now - busy_then, all_now - all_then), memory=memory)

    def _read(self) -> tuple[tuple[int, int], float, float]:
        memory = max(_machine_memory(self._proc), _group_memory(self._proc, self._cgroups))
        disk = max((_disk_share(folder) for folder in self._disks), default=0.0)
        return _processor_times(self._proc), memory, disk


def _processor_times(proc: Path) -> tuple[int, int]:
    with (proc / "stat").open() as file:
        times = [int(ticks) for ticks in file.readline().split()[1 : _TIMES + 1]]
    return sum(times) - times[_IDLE] - times[_IOWAIT], sum(times)


def _machine_memory(proc: Path) -> float:
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in (proc / "meminfo").read_text().splitlines()}
    return _share(sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"])


def _group_memory(proc: Path, cgroups: Path) -> float:
    """Return the used share of what the node's control group may take, 0 where it has no limit of its own."""
    paths = [line[3:] for line in (proc / "self" / "cgroup").read_text().splitlines() if line.startswith("0::")]
    group = cgroups / "".join(paths).lstrip("/")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except FileNotFoundError:
        return 0.0
    # Files that were read once and are only cached give way before anything else does.
    return 0.0 if limit == "max" else _share(used - int(counts["inactive_file"]), int(limit))


def _disk_share(folder: Path) -> float:
    """What is kept back for the system counts as used, as nobody else gets it (df(1) leaves it out)."""
    facts = os.statvfs(folder)
    return _share(facts.f_blocks - facts.f_bavail, facts.f_blocks) if facts.f_blocks else 0.0


def _share(part: int, whole: int) -> float:
    # The kernel's counters are read one after the other, and iowait may step back.
    return min(1.0, max(0.0, part / whole))
