"""One fleet for all end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.support.servers import BackgroundServers
from tests.support.spans import Collector, collecting
from tests.support.stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def collector(servers: BackgroundServers) -> Collector:
    return servers.start(collecting())


@pytest.fixture(scope="session")
def stack(
    servers: BackgroundServers, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    with running_stack(servers, tmp_path_factory.mktemp("stack"), collector) as running:
        yield running
