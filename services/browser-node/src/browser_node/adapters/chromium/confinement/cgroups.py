"""A control group for each browser: it bounds what the browser takes, and finds every process of it at the end.

The kernel has two interfaces. Version 2 is one tree with every controller; version 1 has a tree for each. Both look
the same from here: `ControlGroups` makes a `BrowserGroup`, processes are born in it, and `end` leaves none alive.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from browser_node.adapters.chromium.processes.processes import read_process
from browser_node.domain.limits import SessionLimits

log = logging.getLogger(__name__)

_PERIOD_US = 100_000
# Above this share of its limit a browser is slowed down and its caches are taken, before the kernel ends a process.
_HIGH = 0.75
_ENDING = timedelta(seconds=5)
_REMOVING = timedelta(seconds=5)
_POLL_SECONDS = 0.01
_WANTED = ("memory", "pids", "cpu")


class BrowserGroup(Protocol):
    """The control group of one browser. Its methods block."""

    @property
    def doors(self) -> Sequence[Path]:
        """Files into which a process writes its own number to be in the group, with all that it starts."""
        ...

    def oom_kills(self) -> int:
        """Return how many processes the kernel has ended because the group was out of memory."""
        ...

    def end(self) -> bool:
        """End every process in it now. False when some would not."""
        ...

    def remove(self) -> None:
        """Take the group away, once its processes have ended."""
        ...


class ControlGroups(Protocol):
    """Where a node's browsers have their groups. Its methods block."""

    @property
    def description(self) -> str:
        """Which limits hold, for people."""
        ...

    @property
    def bounds_pids(self) -> bool: ...

    def prepare(self) -> None:
        """Make the place. Raises OSError."""
        ...

    def make(self, name: str) -> BrowserGroup:
        """Make the group of a browser. Raises OSError."""
        ...

    def remove(self) -> None:
        """End what is left in any browser's group, and take away all of them."""
        ...


class NoControlGroups(Exception):
    """The machine does not let the node make control groups; the message says why."""


@dataclass(frozen=True, slots=True)
class _GroupV2:
    folder: Path

    @property
    def doors(self) -> Sequence[Path]:
        return (self.folder / "cgroup.procs",)

    def oom_kills(self) -> int:
        return _counter(self.folder / "memory.events", "oom_kill")

    def end(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "cgroup.kill").write_text("1")
        return _emptied(self.folder, lambda: None)

    def remove(self) -> None:
        _remove_group(self.folder)


@dataclass(frozen=True, slots=True)
class GroupsV2:
    """Groups below one folder of the tree that version 2 has."""

    base: Path
    controllers: frozenset[str]
    limits: SessionLimits

    @property
    def description(self) -> str:
        return "cgroup v2 " + ", ".join(name for name in _WANTED if name in self.controllers)

    @property
    def bounds_pids(self) -> bool:
        return "pids" in self.controllers

    def prepare(self) -> None:
        self.base.mkdir(exist_ok=True)
        _enable(self.base, self.controllers)

    def make(self, name: str) -> _GroupV2:
        group = _GroupV2(self.base / name)
        group.folder.mkdir()
        limits = self.limits
        if "memory" in self.controllers:
            # One process is ended where that helps, which is a page, not the whole group (memory.oom.group).
            (group.folder / "memory.high").write_text(str(int(limits.memory_bytes * _HIGH)))
            (group.folder / "memory.max").write_text(str(limits.memory_bytes))
        if "pids" in self.controllers:
            (group.folder / "pids.max").write_text(str(limits.pids))
        if "cpu" in self.controllers:
            (group.folder / "cpu.max").write_text(f"{int(limits.cpus * _PERIOD_US)} {_PERIOD_US}")
        return group

    def remove(self) -> None:
        for folder in _folders_in(self.base):
            group = _GroupV2(folder)
            group.end()
            group.remove()
        _remove_group(self.base)


@dataclass(frozen=True, slots=True)
class _GroupV1:
    folders: Mapping[str, Path]

    @property
    def doors(self) -> Sequence[Path]:
        return [folder / "cgroup.procs" for folder in self.folders.values()]

    def oom_kills(self) -> int:
        memory = self.folders.get("memory")
        return 0 if memory is None else _counter(memory / "memory.oom_control", "oom_kill")

    def end(self) -> bool:
        if "pids" in self.folders:
            with contextlib.suppress(FileNotFoundError):
                # Nothing new can start, so that what is seen is all there is.
                (self.folders["pids"] / "pids.max").write_text("0")
        members = next(iter(self.folders.values()))
        return _emptied(members, lambda: _kill_members(members))

    def remove(self) -> None:
        for folder in self.folders.values():
            _remove_group(folder)


@dataclass(frozen=True, slots=True)
class GroupsV1:
    """Groups in the tree of each controller that version 1 has. `bases` are folders by controller."""

    bases: Mapping[str, Path]
    limits: SessionLimits

    @property
    def description(self) -> str:
        return "cgroup v1 " + ", ".join(self.bases)

    @property
    def bounds_pids(self) -> bool:
        return "pids" in self.bases

    def prepare(self) -> None:
        for base in self.bases.values():
            base.mkdir(exist_ok=True)

    def make(self, name: str) -> _GroupV1:
        group = _GroupV1({controller: base / name for controller, base in self.bases.items()})
        for folder in group.folders.values():
            folder.mkdir()
        limits = self.limits
        if (memory := group.folders.get("memory")) is not None:
            (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
            (memory / "memory.soft_limit_in_bytes").write_text(str(int(limits.memory_bytes * _HIGH)))
        if (pids := group.folders.get("pids")) is not None:
            (pids / "pids.max").write_text(str(limits.pids))
        if (cpu := group.folders.get("cpu")) is not None:
            (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (cpu / "cpu.cfs_quota_us").write_text(str(int(limits.cpus * _PERIOD_US)))
        return group

    def remove(self) -> None:
        names = {folder.name for base in self.bases.values() for folder in _folders_in(base)}
        for name in names:
            present = {key: base / name for key, base in self.bases.items() if (base / name).is_dir()}
            group = _GroupV1(present)
            group.end()
            group.remove()
        for base in self.bases.values():
            _remove_group(base)


def find_groups(name: str, limits: SessionLimits, *, proc: Path = Path("/proc")) -> ControlGroups:
    """Return a place below the node's own group, by `name`, empty of what an earlier life left there.

    Blocks for as long as that takes to end. Raises NoControlGroups.
    """
    mounts = _mounts(proc)
    faults: list[str] = []
    for find in (_find_v2, _find_v1):
        try:
            groups = find(name, limits, mounts, proc)
            groups.remove()
            groups.prepare()
        except (OSError, NoControlGroups) as error:
            faults.append(str(error))
        else:
            return groups
    raise NoControlGroups("; ".join(faults))


def _find_v2(name: str, limits: SessionLimits, mounts: Mapping[str, Path], proc: Path) -> ControlGroups:
    if "" not in mounts:
        raise NoControlGroups("cgroup v2 is not mounted")
    own = _own_group(mounts[""], proc, "")
    controllers = frozenset((own / "cgroup.controllers").read_text().split()) & set(_WANTED)
    if not controllers:
        raise NoControlGroups("cgroup v2 has no controllers here")
    try:
        _enable(own, controllers)
    except OSError:
        # A group with processes of its own has no controllers for its children: the node moves into a child.
        leaf = own / f"{name}-node"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
        try:
            _enable(own, controllers)
        except OSError:
            (own / "cgroup.procs").write_text("0")
            leaf.rmdir()
            raise
    return GroupsV2(own / name, controllers, limits)


def _find_v1(name: str, limits: SessionLimits, mounts: Mapping[str, Path], proc: Path) -> ControlGroups:
    bases: dict[str, Path] = {}
    faults = []
    for controller in _WANTED:
        if controller in mounts:
            own = _own_group(mounts[controller], proc, controller)
            if os.access(own, os.W_OK):
                bases[controller] = own / name
            else:
                faults.append(f"cgroup v1 {controller} is read-only")
    if not bases:
        raise NoControlGroups(", ".join(faults) or "cgroup v1 is not mounted")
    return GroupsV1(bases, limits)


def _enable(folder: Path, controllers: frozenset[str]) -> None:
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(controllers)))


def _mounts(proc: Path) -> dict[str, Path]:
    """Return where each controller's tree is mounted; that of version 2 has the empty name (proc(5), mountinfo)."""
    found: dict[str, Path] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        kind, _, options = after.split(" ", 2)
        place = Path(before.split()[4])
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, place)
    return found


def _own_group(mount: Path, proc: Path, controller: str) -> Path:
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = mount / path.lstrip("/")
            # In a container the path may be that of the machine, and the mount begins below it.
            return own if own.is_dir() else mount
    return mount


def _members(folder: Path) -> list[int]:
    """Return the processes of a group that have not ended."""
    try:
        pids = [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []
    return [pid for pid in pids if (info := read_process(pid)) is not None and not info.zombie]


def _kill_members(folder: Path) -> None:
    for pid in _members(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _emptied(folder: Path, again: Callable[[], None]) -> bool:
    deadline = time.monotonic() + _ENDING.total_seconds()
    while True:
        again()
        if not _members(folder):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _folders_in(base: Path) -> Iterator[Path]:
    return (entry for entry in list(base.iterdir()) if entry.is_dir()) if base.is_dir() else iter(())


def _remove_group(folder: Path) -> None:
    deadline = time.monotonic() + _REMOVING.total_seconds()
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # What has ended counts until its parent has collected it.
            if time.monotonic() > deadline:
                log.warning("a control group cannot be removed: %s", error)
                return
            time.sleep(_POLL_SECONDS)
        else:
            return


def _counter(path: Path, name: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
