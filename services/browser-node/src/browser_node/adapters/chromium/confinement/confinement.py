"""What keeps browsers in their place, chosen once at the node's start by what the machine allows, and said then."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from browser_node.adapters.chromium.confinement.cgroups import BrowserGroup, ControlGroups, NoControlGroups, find_groups
from browser_node.adapters.chromium.confinement.policies import lay_policies
from browser_node.adapters.chromium.confinement.walls import Walls, build_walls
from browser_node.adapters.chromium.processes.folders import BrowserFolders
from browser_node.domain.limits import SessionLimits

log = logging.getLogger(__name__)

_MAX_OPEN_FILES = 8192


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What keeps one browser in its place."""

    group: BrowserGroup | None
    walls: Walls | None
    limits: SessionLimits
    # What the kernel counts by user, where nothing else bounds it and the user is the browser's own.
    max_pids: int | None

    def command(self, folders: BrowserFolders, program: Path, then: str, command: Sequence[str]) -> list[str]:
        """Return the command of a shell that goes in, does `then` and becomes `command`."""
        script = ["set -e", "ulimit -c 0", f"ulimit -n {_MAX_OPEN_FILES} 2>&- || true"]
        if self.max_pids is not None:
            script.append(f"ulimit -u {self.max_pids}")
        if self.group is not None:
            script += [f"echo $$ > '{door}'" for door in self.group.doors]
        script.append(then)
        prefix: Sequence[str] = ()
        arguments: list[str] = []
        if self.walls is not None:
            prefix, arguments = self.walls.prefix, self.walls.arguments(folders.root, program)
            script.append(self.walls.script)
        # Not sh: it knows one-digit descriptors only.
        return [*prefix, "/bin/bash", "-c", "\n".join([*script, 'exec "$@"']), "bash", *arguments, *command]


@dataclass(frozen=True, slots=True)
class Confinement:
    """Encloses browsers. Without groups and walls it is what any machine allows."""

    limits: SessionLimits = field(default_factory=SessionLimits)
    groups: ControlGroups | None = None
    walls: Walls | None = None

    def enclose(self, folders: BrowserFolders, user: int | None) -> Enclosure:
        """Make the enclosure of the browser that lives in the folders. Blocks; raises OSError."""
        group = self.groups.make(folders.root.name) if self.groups is not None else None
        bounded = self.groups is not None and self.groups.bounds_pids
        max_pids = None if bounded or user is None else self.limits.pids
        return Enclosure(group, self.walls, self.limits, max_pids)


@contextlib.contextmanager
def confining(
    limits: SessionLimits, *, state_dir: Path, scratch: Path, secrets: Sequence[Path]
) -> Iterator[Confinement]:
    """Choose what the machine allows, and take it away again at the end. Blocks for as long as leftovers end."""
    groups = _find_groups(groups_name(state_dir), limits)
    trial = scratch / "trial"
    trial.mkdir(mode=0o700, exist_ok=True)
    try:
        policies = lay_policies(state_dir / "policies")
        walls = build_walls(policies=policies, hidden=(state_dir,), secrets=secrets, trial_folder=trial)
    finally:
        trial.rmdir()
    try:
        yield Confinement(limits=limits, groups=groups, walls=walls)
    finally:
        if groups is not None:
            groups.remove()


def _find_groups(name: str, limits: SessionLimits) -> ControlGroups | None:
    try:
        groups = find_groups(name, limits)
    except NoControlGroups as error:
        what = "processes and threads by user" if os.geteuid() == 0 else "nothing"
        log.warning("limits: %s, no control groups: %s", what, error)
        return None
    log.info("limits: %s", groups.description)
    return groups


def groups_name(state_dir: Path) -> str:
    """Return what the node with this state calls the place of its groups.

    The same in every life of a node, and another for each node of the machine.
    """
    return "browserfleet-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]
