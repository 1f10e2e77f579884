"""A node's browsers, without its dealings with others."""

from collections.abc import AsyncIterator

import pytest

from browser_node.adapters.chromium.browser import ChromiumBrowser
from tests.support.real_browsers import Host, hosting_real_browsers


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with hosting_real_browsers() as host:
        yield host


@pytest.fixture
async def browser(host: Host) -> ChromiumBrowser:
    return await host.start()
