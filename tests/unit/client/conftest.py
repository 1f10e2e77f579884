from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from browserfleet.client import Fleet, FleetSettings, Retries
from tests.unit.client.blob_server import BlobServer, serving_blob
from tests.unit.client.fleet_double import FleetDouble, serving_double


@pytest.fixture
async def double() -> AsyncIterator[FleetDouble]:
    async with serving_double() as double:
        yield double


@pytest.fixture
async def fleet(double: FleetDouble) -> AsyncIterator[Fleet]:
    settings = FleetSettings(url="http://127.0.0.1:1", grpc=double.address, api_key="bf_key")
    async with Fleet(settings, retries=Retries(first_wait=timedelta(0))) as fleet:
        yield fleet


@pytest.fixture
async def blobs() -> AsyncIterator[BlobServer]:
    async with serving_blob() as blobs:
        yield blobs
