"""How busy a machine is, from what its kernel says."""

from pathlib import Path

import pytest

from browser_node.adapters.linux_machine import LinuxMachine
from browser_node.usecases.ports import Pressure


class Kernel:
    """A machine's /proc and control groups, as files."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.cgroups / "fleet.slice").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text("4:memory:/old\n0::/fleet.slice\n")
        self.times(busy=0, idle=0)
        self.memory(total=1000, available=750)

    def times(self, *, busy: int, idle: int) -> None:
        line = f"cpu  {busy // 2} 0 {busy - busy // 2} {idle // 2} {idle - idle // 2} 0 0 0 0 0"
        (self.proc / "stat").write_text(f"{line}\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 5\n")

    def memory(self, *, total: int, available: int) -> None:
        text = f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\nHugePages_Total: 0\n"
        (self.proc / "meminfo").write_text(text)

    def group(self, *, limit: str, used: int, inactive_file: int) -> None:
        group = self.cgroups / "fleet.slice"
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\n")

    def machine(self) -> LinuxMachine:
        return LinuxMachine(proc=self.proc, cgroups=self.cgroups)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


async def test_the_first_look_shows_no_share_of_time(kernel: Kernel) -> None:
    machine = kernel.machine()

    await machine.measure()

    assert machine.pressure is None


async def test_shares_are_what_is_used_of_what_there_is(kernel: Kernel) -> None:
    machine = kernel.machine()
    await machine.measure()
    kernel.times(busy=30, idle=90)

    await machine.measure()

    assert machine.pressure == Pressure(cpu=0.25, memory=0.25)


async def test_time_in_use_is_that_of_the_last_minute(kernel: Kernel) -> None:
    machine = kernel.machine()
    await machine.measure()
    for seconds in range(0, 120, 5):
        kernel.times(busy=min(seconds, 60), idle=max(0, seconds - 60))
        await machine.measure()

    kernel.times(busy=60, idle=60)
    await machine.measure()

    assert machine.pressure is not None
    assert machine.pressure.cpu == 0


async def test_a_lower_limit_of_the_control_group_counts(kernel: Kernel) -> None:
    machine = kernel.machine()
    await machine.measure()
    kernel.times(busy=1, idle=1)
    kernel.group(limit="1000", used=900, inactive_file=100)

    await machine.measure()

    assert machine.pressure == Pressure(cpu=0.5, memory=0.8)


async def test_a_control_group_without_a_limit_changes_nothing(kernel: Kernel) -> None:
    machine = kernel.machine()
    await machine.measure()
    kernel.times(busy=1, idle=1)
    kernel.group(limit="max", used=900, inactive_file=0)

    await machine.measure()

    assert machine.pressure == Pressure(cpu=0.5, memory=0.25)


async def test_this_machine_can_be_measured() -> None:
    machine = LinuxMachine()
    await machine.measure()
    # Ticks are hundredths of a second: wait for one to pass.
    while machine.pressure is None:
        await machine.measure()

    assert 0 <= machine.pressure.cpu <= 1
    assert 0 < machine.pressure.memory < 1


async def test_of_several_disks_the_fuller_one_counts(kernel: Kernel, tmp_path: Path) -> None:
    # /proc holds nothing.
    machine = LinuxMachine(proc=kernel.proc, cgroups=kernel.cgroups, disks=(tmp_path, Path("/proc")))

    await machine.measure()

    assert 0 < machine.disk_used <= 1
