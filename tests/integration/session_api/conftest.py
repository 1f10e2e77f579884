from collections.abc import AsyncIterator

import pytest

from fleetkit.settings import Secret
from session_api.adapters.postgres.database import migrate_fleet
from tests.integration.session_api.fleet import RealFleet, a_real_fleet


@pytest.fixture
async def fleet(empty_database: str) -> AsyncIterator[RealFleet]:
    await migrate_fleet(Secret(empty_database))
    async with a_real_fleet(empty_database) as fleet:
        yield fleet
