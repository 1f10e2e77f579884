import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client

from fleetkit.bus import connect_bus, ensure_streams
from fleetkit.rpc.server import serving
from fleetkit.settings import Secret
from local_stack.servers.nats import RunningNats, running_nats
from tests.integration.reaper.fleet import Fleet, settings_for
from tests.integration.reaper.session_api import FakeSessionApi


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[RunningNats]:
    async with running_nats(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fleet(nats: RunningNats) -> AsyncIterator[Fleet]:
    api = FakeSessionApi()
    async with serving("127.0.0.1:0", api.services(), authenticator=api, grace=timedelta(0)) as server:
        yield Fleet(api, await asyncio.to_thread(settings_for, f"127.0.0.1:{server.port}", nats))


@pytest.fixture
async def bus(nats: RunningNats) -> AsyncIterator[Client]:
    async with connect_bus(nats.url, Secret(nats.token), name="test") as client:
        await ensure_streams(client.jetstream())
        yield client
