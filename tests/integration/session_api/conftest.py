from collections.abc import AsyncIterator

import pytest

from fleetkit.settings import Secret
from session_api.adapters.postgres.database import migrate_fleet
from tests.integration.session_api.edge import Edge, Node, a_node, an_edge
from tests.integration.session_api.fleet import RealFleet, a_real_fleet


@pytest.fixture
async def fleet(empty_database: str) -> AsyncIterator[RealFleet]:
    await migrate_fleet(Secret(empty_database))
    async with a_real_fleet(empty_database) as fleet:
        yield fleet


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with a_node() as node:
        yield node


@pytest.fixture
async def edge(node: Node) -> AsyncIterator[Edge]:
    async with an_edge(node) as edge:
        yield edge
