"""Waves of sessions, half of them ended hard: nothing is left. `make bench-leaks` runs the large version."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.support.fake_fleet import FakeFleet, NodeProcess, a_fleet
from tests.support.leak_waves import Waves
from tests.support.real_browsers import short_folder


@pytest.fixture
async def fleet() -> AsyncIterator[FakeFleet]:
    async with a_fleet() as fleet:
        yield fleet


async def test_waves_of_sessions_half_ended_hard_leave_nothing(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state")
        async with node.ended_at_last():
            await node.start()
            waves = Waves(node, chance=random.Random(7))
            await waves.run(sessions=2)
            before = await asyncio.to_thread(waves.leftovers)
            for _ in range(2):
                await waves.run(sessions=4)

                # Descriptors may come and go with the fleet's connections; more of them may not stay.
                after = await waves.settled(before)
                assert (after.processes, after.zombies, after.folders, after.groups) == (0, 0, 0, 0)
                assert after.mounts == before.mounts
                assert after.descriptors <= before.descriptors + 2
