"""Control groups on trees of plain files, as the kernel would show them."""

from pathlib import Path

import pytest

from browser_node.adapters.chromium.confinement.cgroups import GroupsV1, GroupsV2, NoControlGroups, find_groups
from browser_node.domain.limits import SessionLimits

LIMITS = SessionLimits(memory_bytes=1 << 30, pids=300, cpus=1.5)


class Kernel:
    """Mounts below a folder, and the node's own group in each."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.proc = root / "proc"
        (self.proc / "self").mkdir(parents=True)
        self._mounts: list[str] = []
        self._groups: list[str] = []

    def mount(self, kind: str, options: str, own: str) -> Path:
        place = self._root / (options if kind == "cgroup" else "unified")
        (place / own).mkdir(parents=True)
        self._mounts.append(f"30 1 0:28 / {place} rw - {kind} {kind} rw,{options}")
        self._groups.append(f"{len(self._groups)}:{options if kind == 'cgroup' else ''}:/{own}")
        (self.proc / "self/mountinfo").write_text("\n".join(self._mounts))
        (self.proc / "self/cgroup").write_text("\n".join(self._groups))
        return place / own


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path)
    (kernel.proc / "self/mountinfo").write_text("22 27 0:21 / /proc rw - proc proc rw\n")
    return kernel


def test_version_2_bounds_memory_processes_and_processors(kernel: Kernel) -> None:
    own = kernel.mount("cgroup2", "nsdelegate", "fleet")
    (own / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")

    groups = find_groups("browserfleet-1", LIMITS, proc=kernel.proc)
    group = groups.make("s0")

    assert isinstance(groups, GroupsV2)
    assert groups.description == "cgroup v2 memory, pids, cpu"
    for folder in (own, own / "browserfleet-1"):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    made = own / "browserfleet-1" / "s0"
    assert (made / "memory.max").read_text() == str(1 << 30)
    assert (made / "memory.high").read_text() == str((1 << 30) * 3 // 4)
    assert (made / "pids.max").read_text() == "300"
    assert (made / "cpu.max").read_text() == "150000 100000"
    assert list(group.doors) == [made / "cgroup.procs"]
    (made / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")
    assert group.oom_kills() == 3


def test_version_1_has_a_tree_for_each(kernel: Kernel) -> None:
    owns = {name: kernel.mount("cgroup", name, "fleet") for name in ("cpu", "pids", "memory", "freezer")}

    groups = find_groups("browserfleet-1", LIMITS, proc=kernel.proc)
    group = groups.make("s0")

    assert isinstance(groups, GroupsV1)
    assert groups.description == "cgroup v1 memory, pids, cpu"
    made = {name: own / "browserfleet-1" / "s0" for name, own in owns.items()}
    assert (made["memory"] / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (made["pids"] / "pids.max").read_text() == "300"
    assert (made["cpu"] / "cpu.cfs_quota_us").read_text() == "150000"
    assert not made["freezer"].exists()
    assert list(group.doors) == [made[name] / "cgroup.procs" for name in ("memory", "pids", "cpu")]
    (made["memory"] / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert group.oom_kills() == 2


def test_without_any_the_node_is_told_why(kernel: Kernel) -> None:
    kernel.mount("cgroup2", "rw", "fleet").joinpath("cgroup.controllers").write_text("hugetlb\n")

    with pytest.raises(NoControlGroups, match="no controllers here; cgroup v1 is not mounted"):
        find_groups("browserfleet-1", LIMITS, proc=kernel.proc)
