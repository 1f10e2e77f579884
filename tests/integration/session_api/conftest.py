import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from fleetkit.settings import Secret
from local_stack.servers.postgres import RunningPostgres
from session_api.adapters.postgres.database import migrate_fleet
from tests.integration.session_api.edge import Edge, Node, a_node, an_edge
from tests.integration.session_api.fleet import EMPTY_TABLES, RealFleet, a_real_fleet
from tests.support.servers import BackgroundServers


@contextlib.asynccontextmanager
async def _a_database(postgres: RunningPostgres) -> AsyncIterator[str]:
    dsn = postgres.server.dsn("session_api")
    admin = await asyncpg.connect(postgres.dsn)
    await admin.execute("CREATE DATABASE session_api")
    await admin.close()
    await migrate_fleet(Secret(dsn))
    yield dsn


@pytest.fixture(scope="session")
def one_database(servers: BackgroundServers, postgres: RunningPostgres) -> str:
    """The DSN of a database that has its tables: making one takes longer than most tests."""
    return servers.start(_a_database(postgres))


@pytest.fixture
async def migrated(one_database: str) -> str:
    """The DSN of a database that has its tables, and nothing in them."""
    connection = await asyncpg.connect(one_database)
    # What a test that failed has left open.
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.execute(EMPTY_TABLES)
    await connection.close()
    return one_database


@pytest.fixture
async def fleet(migrated: str) -> AsyncIterator[RealFleet]:
    async with a_real_fleet(migrated) as fleet:
        yield fleet


@pytest.fixture
async def three_replicas(migrated: str) -> AsyncIterator[RealFleet]:
    async with a_real_fleet(migrated, replicas=3) as fleet:
        yield fleet


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with a_node() as node:
        yield node


@pytest.fixture
async def edge(node: Node) -> AsyncIterator[Edge]:
    async with an_edge(node) as edge:
        yield edge
