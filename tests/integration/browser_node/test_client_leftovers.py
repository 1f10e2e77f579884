"""What a client leaves behind in a real browser, and what is taken back for those who stay."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from tests.support.node_fakes import SESSION
from tests.support.pages import FILE, serving_pages
from tests.support.real_browsers import Host, RawClient
from tests.support.waiting import eventually, until


@pytest.fixture
async def host(host: Host) -> Host:
    await host.start()
    return host


async def test_what_a_client_leaves_on_a_page_is_taken_back(host: Host) -> None:
    look = "JSON.stringify([visualViewport.scale, innerWidth, navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone])"
    async with serving_pages() as site, connect(host.url()) as socket:
        stays = RawClient(socket)
        page = await stays.open_page()
        await stays.call("Page.navigate", {"url": site}, page)

        async def state() -> str:
            answer = await stays.call("Runtime.evaluate", {"expression": look, "returnByValue": True}, page)
            return str(answer["result"]["value"])

        before = await state()
        async with connect(host.url()) as other:
            leaves = RawClient(other)
            session = await leaves.open_page()
            window = await leaves.call("Browser.getWindowForTarget", session=session)
            bounds: dict[str, object] = {"windowId": window["windowId"], "bounds": {"width": 500, "height": 400}}
            await leaves.call("Browser.setWindowBounds", bounds)
            overrides: tuple[tuple[str, dict[str, object]], ...] = (
                ("Emulation.setPageScaleFactor", {"pageScaleFactor": 2}),
                ("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"}),
                ("Emulation.setUserAgentOverride", {"userAgent": "x", "acceptLanguage": "fr-FR"}),
                ("Emulation.setVisibleSize", {"width": 333, "height": 222}),
                ("Network.enable", {}),
                ("Fetch.enable", {}),
            )
            for method, params in overrides:
                await leaves.call(method, params, session)
            assert json.loads(await state()) != json.loads(before)

        async def as_before() -> bool:
            return await state() == before

        await eventually(as_before, within=5, what="the page is as it was")
        fetched: dict[str, object] = {"expression": "fetch('/x').then(r => r.status)", "awaitPromise": True}
        assert (await stays.call("Runtime.evaluate", fetched, page))["result"]["value"] == 200


async def test_a_dialog_and_a_popup_do_not_hang_after_their_client_left(host: Host) -> None:
    async with serving_pages() as site, connect(host.url()) as socket:
        stays = RawClient(socket)
        page = await stays.open_page()
        await stays.call("Page.navigate", {"url": site}, page)
        async with connect(host.url()) as other:
            leaves = RawClient(other)
            session = await leaves.open_page()
            await leaves.call("Page.enable", session=session)
            await leaves.call(
                "Runtime.evaluate", {"expression": "setTimeout(() => { window.said = confirm('?') }); 1"}, session
            )
            while "javascriptDialogOpening" not in str(await other.recv()):
                pass
        told = await asyncio.wait_for(stays.call("Runtime.evaluate", {"expression": "window.said"}, page), 5)
        assert told["result"]["value"] is False

        async with connect(host.url()) as other:
            leaves = RawClient(other)
            waits: dict[str, object] = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
            await leaves.call("Target.setAutoAttach", waits)
            opening: dict[str, object] = {"expression": f"window.popup = open('{site}'); 1", "userGesture": True}
            number = await stays.send("Runtime.evaluate", opening, page)
            while '"waitingForDebugger":true' not in str(await other.recv()):
                pass
        await asyncio.wait_for(stays.answer(number), 5)
        await stays.call("Runtime.evaluate", {"expression": "popup.close(); 1"}, page)


async def test_downloads_are_kept_after_a_client_that_had_set_them_left(host: Host) -> None:
    already = len(host.taken)
    async with serving_pages() as site, connect(host.url()) as socket:
        stays = RawClient(socket)
        page = await stays.open_page()
        async with connect(host.url()) as other:
            asked: dict[str, object] = {"behavior": "allow", "downloadPath": "/tmp/mine", "eventsEnabled": True}
            await RawClient(other).call("Browser.setDownloadBehavior", asked)
        browser = host.browsers.find(SESSION, 1)
        await until(lambda: browser.client_count == 1)
        await stays.call("Page.navigate", {"url": site}, page)
        await stays.call("Runtime.evaluate", {"expression": "document.querySelector('#file').click()"}, page)

        async def kept() -> bool:
            host.taken.append(await host.spool.next())
            return any(item.artifact.display_name == "table.csv" for item in host.taken[already:])

        await eventually(kept, within=20, what="the download is in the spool")
    [item] = [item for item in host.taken[already:] if item.artifact.display_name == "table.csv"]
    assert await asyncio.to_thread(item.path.read_bytes) == FILE
