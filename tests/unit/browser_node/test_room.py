from dataclasses import dataclass

import pytest

from browser_node.adapters.chromium.launch.room import Room
from browser_node.usecases.ports import Pressure
from tests.support.node_fakes import FakeMachine


@dataclass
class Trees:
    """So many browsers, of sessions and others."""

    tree_count: int = 0


@pytest.mark.parametrize(
    ("trees", "occupied", "free"),
    [(0, 0, 4), (2, 2, 4), (3, 2, 3), (4, 0, 0), (6, 2, 0), (0, 1, 4)],
)
def test_what_sessions_leave_of_the_slots_is_free(trees: int, occupied: int, free: int) -> None:
    room = Room(plots=Trees(trees), machine=FakeMachine(), slots=4)

    assert room.beside(occupied) == free


def test_with_little_memory_nothing_is_added_and_with_less_nothing_is_kept() -> None:
    machine = FakeMachine()
    room = Room(plots=Trees(2), machine=machine, slots=4)

    machine.pressure = Pressure(cpu=0, memory=0.85)
    assert room.beside(2) == 2
    machine.pressure = Pressure(cpu=0, memory=0.95)
    assert room.beside(2) == 0
