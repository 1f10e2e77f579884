"""The Database port, once kept by the fake and once by Postgres."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from fleetkit.ids import RandomIds
from fleetkit.postgres import open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.domain.caller import Scope, api_key_digest
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import Memory, Postgres, Subject
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, SteppedClock
from tests.support.fleet_memory import MemoryDatabase


@pytest.fixture
def memory() -> Subject:
    return Memory(MemoryDatabase(SteppedClock()))


@pytest.fixture
async def real(empty_database: str) -> AsyncIterator[Subject]:
    await migrate_fleet(Secret(empty_database))
    connection = await asyncpg.connect(empty_database)
    async with open_pool(Secret(empty_database), max_size=4) as pool:
        yield Postgres(PostgresDatabase(pool, RandomIds()), connection)
    await connection.close()


@pytest.fixture(params=["memory", "real"])
def subject(request: pytest.FixtureRequest) -> Subject:
    chosen: Subject = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
async def database(subject: Subject) -> Database:
    """A database with two organizations."""
    async with subject.database.transaction() as tx:
        for organization_id in (ORGANIZATION, OTHER_ORGANIZATION):
            digest = api_key_digest(f"key of {organization_id}")
            await tx.keys.add(digest, organization_id=organization_id, scope=Scope.MEMBER, max_timeout=None)
    return subject.database
