from collections.abc import AsyncIterator

import pytest

from fleetkit.settings import Secret
from session_api.adapters.postgres.database import migrate_fleet
from tests.integration.session_api.edge import Edge, Node, a_node, an_edge
from tests.integration.session_api.fleet import RealFleet, a_real_fleet


@pytest.fixture
async def migrated(empty_database: str) -> str:
    """The DSN of a database of the test's own that has its tables."""
    await migrate_fleet(Secret(empty_database))
    return empty_database


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
