import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from session_api.usecases.admission import QueuePolicy
from tests.unit.session_api.entry import Entry, an_entry
from tests.unit.session_api.fleet import Fleet, a_fleet
from tests.unit.session_api.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run everything but the front door, which has sockets, in virtual time."""
    del config
    return {"real": asyncio.SelectorEventLoop} if "entry" in item.fixturenames else {"virtual": VirtualTimeLoop}


@pytest.fixture
def queue_policy() -> QueuePolicy:
    """A test may give another one as a parameter."""
    return QueuePolicy()


@pytest.fixture
async def fleet(queue_policy: QueuePolicy) -> AsyncIterator[Fleet]:
    async with a_fleet(queue=queue_policy) as fleet:
        yield fleet


@pytest.fixture
async def entry(fleet: Fleet) -> AsyncIterator[Entry]:
    async with an_entry(fleet) as entry:
        yield entry
