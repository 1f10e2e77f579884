"""The Database port, once kept by the fake and once by Postgres."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from fleetkit.ids import RandomIds
from fleetkit.postgres import open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.domain.organization import Organization
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import Memory, Postgres, Subject
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, SteppedClock
from tests.support.fleet_memory import MemoryDatabase


@pytest.fixture
def memory() -> Subject:
    return Memory(MemoryDatabase(SteppedClock()))


@pytest.fixture
async def real(empty_database: str) -> AsyncIterator[Postgres]:
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
    return await with_organizations(subject.database)


@pytest.fixture
async def postgres_database(real: Postgres) -> Database:
    """Postgres with two organizations, for what the fake cannot do: transactions at the same time."""
    return await with_organizations(real.database)


async def with_organizations(database: Database) -> Database:
    async with database.transaction() as tx:
        for organization_id in (ORGANIZATION, OTHER_ORGANIZATION):
            assert await tx.organizations.add(Organization(id=organization_id))
    return database
