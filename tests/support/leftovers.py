"""What browsers leave on the machine, counted; and ways for one to go wrong."""

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

from browser_node.adapters.chromium.confinement.confinement import groups_name
from browser_node.adapters.chromium.processes.processes import all_processes
from tests.support.real_browsers import processes_of


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Counts that are the same before and after a browser, when it left nothing. Blocks."""

    processes: int
    zombies: int
    folders: int
    groups: int
    descriptors: int
    mounts: int

    @classmethod
    def now(cls, *, node: int, state_dir: Path, scratch: Path) -> "Leftovers":
        """Look at the node with this process ID."""
        below = descendants(node)
        return cls(
            processes=sum(not zombie for zombie in below.values()),
            zombies=sum(below.values()),
            # Of browsers; the node's own copies of extensions stay as long as it runs.
            folders=len(list(scratch.glob("s*"))),
            groups=_groups(node, groups_name(state_dir)),
            descriptors=len(list(Path(f"/proc/{node}/fd").iterdir())),
            mounts=len(Path(f"/proc/{node}/mountinfo").read_text().splitlines()),
        )


def descendants(pid: int) -> dict[int, bool]:
    """Return every process below another one, and whether it is a zombie."""
    parents: dict[int, tuple[int, bool]] = {}
    for info in all_processes():
        try:
            fields = Path(f"/proc/{info.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[info.pid] = (int(fields[1]), info.zombie)
    found: dict[int, bool] = {}
    fresh = {pid}
    while fresh:
        fresh = {child for child, (parent, _) in parents.items() if parent in fresh and child not in found}
        found |= {child: parents[child][1] for child in fresh}
    return found


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def harm(main: int, chance: random.Random) -> str:
    """Do to a browser what may happen to one; return what."""
    ways = ["main killed", "helper killed", "main stopped", "all killed"]
    way = chance.choice(ways)
    pids = [info.pid for info in processes_of(main) if not info.zombie]
    helpers = [pid for pid in pids if pid != main]
    match way:
        case "main killed":
            _send([main], signal.SIGKILL)
        case "helper killed":
            _send([chance.choice(helpers)] if helpers else [main], signal.SIGKILL)
        case "main stopped":
            _send([main], signal.SIGSTOP)
        case _:
            _send(pids, signal.SIGKILL)
    return way


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _groups(node: int, name: str) -> int:
    """Count control groups of a node's browsers, in every tree."""
    root = Path("/sys/fs/cgroup")
    lines = Path(f"/proc/{node}/cgroup").read_text().splitlines()
    found = 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = root / controllers.split(",")[0] / path.lstrip("/")
        found += sum(1 for folder in own.glob(f"{name}/s*") if folder.is_dir())
    return found
