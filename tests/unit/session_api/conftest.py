from collections.abc import AsyncIterator

import pytest

from tests.unit.session_api.entry import Entry, an_entry
from tests.unit.session_api.fleet import Fleet, a_fleet


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        yield fleet


@pytest.fixture
async def entry(fleet: Fleet) -> AsyncIterator[Entry]:
    async with an_entry(fleet) as entry:
        yield entry
