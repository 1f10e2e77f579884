"""Fixtures for all tests: the strict event loop, and the real servers, started when a test first asks for them."""

import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import grpc
import pytest
from blockbuster import blockbuster_ctx
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from local_stack.servers.nats import RunningNats, running_nats
from local_stack.servers.postgres import RunningPostgres, running_postgres
from local_stack.servers.s3 import RunningS3, running_s3
from tests.support.servers import BackgroundServers

_SERVICES = ["fleetkit", "session_api", "browser_node", "artifact_store", "reaper", "browserfleet.client"]
_database_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def keep_grpc_up() -> None:
    """gRPC's poller thread stays for the run: else whichever test drops the last channel waits for its end."""
    grpc.aio.init_grpc_aio()


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """A call of ours that blocks the event loop fails the test."""
    with blockbuster_ctx(scanned_modules=_SERVICES) as blockbuster:
        for function in blockbuster.functions.values():
            # A new connection looks for certificates in the home folder: a few stats, once in a connection's life.
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_arguments"})
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[BackgroundServers]:
    with BackgroundServers() as running:
        yield running


@pytest.fixture(scope="session")
def postgres(servers: BackgroundServers, tmp_path_factory: pytest.TempPathFactory) -> RunningPostgres:
    return servers.start(running_postgres(tmp_path_factory.mktemp("postgres")))


@pytest.fixture(scope="session")
def nats_server(servers: BackgroundServers, tmp_path_factory: pytest.TempPathFactory) -> RunningNats:
    return servers.start(running_nats(tmp_path_factory.mktemp("nats")))


@pytest.fixture(scope="session")
def s3(servers: BackgroundServers, tmp_path_factory: pytest.TempPathFactory) -> RunningS3:
    return servers.start(running_s3(tmp_path_factory.mktemp("s3")))


@pytest.fixture(scope="session")
def metric_reader() -> InMemoryMetricReader:
    """What is measured from now on; a process has one, so that figures of all tests are in it."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader


@pytest.fixture
async def empty_database(postgres: RunningPostgres) -> AsyncIterator[str]:
    """The DSN of a database of the test's own."""
    name = f"test_{next(_database_numbers)}"
    admin = await asyncpg.connect(postgres.dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    yield postgres.server.dsn(name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
