"""Ending a group of each version in the real kernel: nothing that starts while it ends gets away."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_node.adapters.chromium.confinement.cgroups import (
    ControlGroups,
    GroupsV1,
    GroupsV2,
)
from browser_node.domain.limits import SessionLimits
from tests.support.waiting import eventually

LIMITS = SessionLimits(pids=60)
# Goes into the group, and becomes another user, whose processes the kernel counts: each child starts two more.
_BOMB = """
echo $$ > {door}
exec setpriv --reuid=209999 --regid=209999 --clear-groups bash -c '
  ulimit -u 60
  f() {{ sleep 1000 & f & f & wait; }}
  f 2>/dev/null
'
"""


def the_tree(kind: str) -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if f" - {kind} " in line and (kind == "cgroup2" or "pids" in line.split(" - ")[1]):
            return Path(line.split()[4])
    return None


# No machine has to have both; one it has, and what it has is tested.
TREES = {kind: tree for kind in ("cgroup", "cgroup2") if (tree := the_tree(kind)) is not None}
assert TREES, "this kernel has no control groups"


@pytest.fixture(params=TREES)
def groups(request: pytest.FixtureRequest) -> Iterator[ControlGroups]:
    assert os.geteuid() == 0, "control groups take root: sudo make test"
    tree = TREES[request.param]
    base = tree / f"browserfleet-test-{os.getpid()}"
    # Of version 2 without controllers: what ends a group needs none.
    groups = GroupsV1({"pids": base}, LIMITS) if request.param == "cgroup" else GroupsV2(base, frozenset(), LIMITS)
    base.mkdir()
    yield groups
    groups.remove()
    assert not base.exists()


async def test_a_bomb_in_a_group_ends_with_it(groups: ControlGroups) -> None:
    group = await asyncio.to_thread(groups.make, "s0")
    [door] = group.doors

    async def is_big() -> bool:
        return len((await asyncio.to_thread(door.read_text)).split()) > 20

    bomb = await asyncio.create_subprocess_exec("bash", "-c", _BOMB.format(door=door))
    await eventually(is_big, within=20, what="the bomb goes off")

    assert await asyncio.to_thread(group.end)

    assert await asyncio.to_thread(door.read_text) == ""
    await bomb.wait()
    await asyncio.to_thread(group.remove)
    assert not door.parent.exists()
