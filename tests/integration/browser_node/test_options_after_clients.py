"""What a session asked for holds again when a client that had its own way has left."""

from websockets.asyncio.client import connect

from browser_node.domain.options import BrowserOptions, Geolocation
from tests.support.node_fakes import SESSION, an_order
from tests.support.pages import serving_pages
from tests.support.real_browsers import RawClient, hosting_real_browsers
from tests.support.waiting import eventually

WHERE: dict[str, object] = {
    "expression": "new Promise(r => navigator.geolocation.getCurrentPosition(p => r(p.coords.latitude), e => r(e.message)))",
    "awaitPromise": True,
}
PLACE = Geolocation(latitude=52.0, longitude=13.0, accuracy_meters=10)


async def test_place_and_permissions_hold_again() -> None:
    options = BrowserOptions(geolocation=PLACE, permissions=("geolocation",), user_agent="Session/1")
    async with hosting_real_browsers() as host, serving_pages() as site:
        await host.browsers.start(an_order(options=options))
        async with connect(host.url()) as socket:
            stays = RawClient(socket)
            page = await stays.open_page()
            await stays.call("Page.navigate", {"url": site}, page)

            async def place() -> object:
                return (await stays.call("Runtime.evaluate", WHERE, page))["result"]["value"]

            assert await place() == 52
            async with connect(host.url()) as other:
                leaves = RawClient(other)
                session = await leaves.open_page()
                moved: dict[str, object] = {"latitude": 1, "longitude": 2, "accuracy": 3}
                await leaves.call("Emulation.setGeolocationOverride", moved, session)
                await leaves.call("Emulation.setUserAgentOverride", {"userAgent": "Client/1"}, session)
                assert await place() == 1
                await leaves.call("Browser.grantPermissions", {"permissions": ["notifications"]})
            browser = host.browsers.find(SESSION, 1)

            async def alone() -> bool:
                return browser.client_count == 1

            await eventually(alone, within=5, what="the other client is gone")
            assert await place() == 52
            told = await stays.call("Runtime.evaluate", {"expression": "navigator.userAgent"}, page)
    assert told["result"]["value"] == "Session/1"
