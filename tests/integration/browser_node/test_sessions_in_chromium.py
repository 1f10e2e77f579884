"""Clients in one real browser, through the real attach server."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import av
import httpx
import pytest
from playwright.async_api import Browser, Page, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from browser_node.adapters.chromium.launch.detection import find_programs
from browser_node.adapters.chromium.launch.kinds import Model
from browser_node.adapters.chromium.launch.plots import BrowserPlots
from browser_node.adapters.chromium.processes.folders import Scratch
from browser_node.domain.artifact import ArtifactKind
from browser_node.domain.browser import BrowserKind, CloseReason
from tests.support.node_fakes import SESSION
from tests.support.pages import FILE, serving_pages
from tests.support.real_browsers import (
    Host,
    RawClient,
    a_signer,
    alive,
    attach_token,
    processes_of,
)
from tests.support.waiting import until


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


async def attach(playwright: Playwright, host: Host) -> Browser:
    return await playwright.chromium.connect_over_cdp(host.url())


def first_page(browser: Browser) -> Page:
    return browser.contexts[0].pages[0]


async def test_a_node_finds_a_browser_and_its_sandbox(host: Host) -> None:
    plots = BrowserPlots(scratch=Scratch(host.scratch), accounts=host.accounts)

    programs = await find_programs(plots, configured={}, allow_no_sandbox=False)

    assert programs[Model(BrowserKind.CHROME)].sandboxed
    assert "Chrome/" in programs[Model(BrowserKind.CHROME)].product


async def test_nothing_is_left_of_a_closed_browser(host: Host) -> None:
    browser = await host.start()
    processes = await asyncio.to_thread(processes_of, browser.pid)
    assert len(processes) > 5
    assert os.geteuid() != 0 or all(info.user != 0 for info in processes)

    await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
    await host.browsers.wait_empty()

    assert await asyncio.to_thread(alive, [info.pid for info in processes]) == []
    assert list(host.scratch.iterdir()) == []


async def test_a_client_that_says_nothing_leaves_the_browser_idle_while_it_is_recorded(host: Host) -> None:
    browser = await host.start()
    async with connect(host.url()) as socket:
        client = RawClient(socket)
        await client.open_page()

        await until(lambda: browser.input_idle > timedelta(seconds=1))

        await client.call("Browser.getVersion")
        assert browser.input_idle < timedelta(seconds=1)


async def test_two_clients_see_the_same_pages_and_one_leaves_without_disturbing(
    host: Host, playwright: Playwright
) -> None:
    browser = await host.start()
    async with serving_pages() as site:
        a, b = await attach(playwright, host), await attach(playwright, host)
        await first_page(a).goto(site)
        assert await first_page(b).title() == "A page"
        await a.contexts[0].new_page()
        await until(lambda: len(b.contexts[0].pages) == 2)
        assert browser.client_count == 2

        await a.close()

        await until(lambda: browser.client_count == 1)
        assert b.is_connected()
        assert await first_page(b).evaluate("document.cookie") == "seen=yes"


async def test_a_client_cannot_end_the_browser(host: Host, playwright: Playwright) -> None:
    browser = await host.start()
    a = await attach(playwright, host)
    cdp = await a.new_browser_cdp_session()
    with pytest.raises(PlaywrightError, match="not available"):
        await cdp.send("Browser.crash")

    await cdp.send("Browser.close")

    await until(lambda: browser.client_count == 0)
    b = await attach(playwright, host)
    assert await first_page(b).evaluate("1 + 1") == 2


async def test_a_download_is_kept_although_the_client_names_a_folder_of_its_own(
    host: Host, playwright: Playwright
) -> None:
    await host.start()
    async with serving_pages() as site:
        client = await attach(playwright, host)
        isolated = await client.new_context()
        for page in (first_page(client), await isolated.new_page()):
            await page.goto(site)
            async with page.expect_download() as waiting:
                await page.click("#file")
            assert (await waiting.value).suggested_filename == "table.csv"

        first, second = await host.artifacts(2)

    for item in (first, second):
        assert (item.artifact.kind, item.artifact.display_name) == (ArtifactKind.DOWNLOAD, "table.csv")
        assert item.artifact.content_type == "text/csv"
        assert item.artifact.run_id is not None
        assert await asyncio.to_thread(item.path.read_bytes) == FILE


async def test_a_download_is_kept_for_a_client_that_knows_nothing_of_downloads(host: Host) -> None:
    await host.start()
    async with serving_pages() as site, connect(host.url()) as socket:
        client = RawClient(socket)
        context = (await client.call("Target.createBrowserContext"))["browserContextId"]
        await client.call("Target.createTarget", {"url": f"{site}/file", "browserContextId": context})

        (item,) = await host.artifacts(1)

    assert await asyncio.to_thread(item.path.read_bytes) == FILE


async def test_each_run_leaves_a_recording_that_can_be_played(host: Host, playwright: Playwright) -> None:
    await host.start()
    still = await attach(playwright, host)
    await first_page(still).goto("data:text/html,<h1>still</h1>")
    moving = await attach(playwright, host)
    await first_page(moving).goto(
        "data:text/html,<h1 id=n>0</h1><script>setInterval(()=>n.textContent=performance.now(),50)</script>"
    )
    started = time.monotonic()
    await asyncio.sleep(1.5)
    await moving.close()
    seconds = time.monotonic() - started
    await still.close()

    recordings = await host.artifacts(2)

    assert len({item.artifact.run_id for item in recordings}) == 2
    for item in recordings:
        assert item.artifact.kind is ArtifactKind.RECORDING
        with av.open(str(item.path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times[0] == 0
        assert times[-1] >= seconds - 1
        # Five pictures a second at most, and the last one repeated.
        assert 4 <= len(times) <= times[-1] * 5 + 5


async def test_a_short_run_on_a_still_page_is_recorded(host: Host) -> None:
    await host.start()
    async with connect(host.url()) as socket:
        await socket.send('{"id":1,"method":"Browser.getVersion"}')
        await socket.recv()

    (item,) = await host.artifacts(1)

    with av.open(str(item.path)) as container:
        assert len(list(container.decode(video=0))) >= 1


async def test_a_crash_is_told_to_clients_and_reported_within_two_seconds(host: Host) -> None:
    browser = await host.start()
    async with connect(host.url()) as socket:
        await socket.send('{"id":1,"method":"Browser.getVersion"}')
        await socket.recv()
        started = time.monotonic()
        os.kill(browser.pid, signal.SIGKILL)

        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()

    await until(lambda: host.browsers.unreported())
    assert time.monotonic() - started < 2
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "session closed: BROWSER_CRASHED")
    assert host.browsers.unreported()[0].end.reason is CloseReason.BROWSER_CRASHED
    await host.browsers.wait_empty()
    assert list(host.scratch.iterdir()) == []


async def test_a_browser_that_hangs_is_ended_by_force(host: Host) -> None:
    browser = await host.start()
    os.kill(browser.pid, signal.SIGSTOP)
    started = time.monotonic()

    await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
    await host.browsers.wait_empty()

    assert time.monotonic() - started < 10
    assert list(host.scratch.iterdir()) == []


async def test_calls_that_wait_when_the_session_closes_are_answered(host: Host) -> None:
    await host.start()
    async with connect(host.url()) as socket:
        client = RawClient(socket)
        session = await client.open_page()
        for_ever: dict[str, object] = {"expression": "new Promise(() => 0)", "awaitPromise": True}
        waiting = await client.send("Runtime.evaluate", for_ever, session)
        await client.call("Browser.getVersion")

        await host.browsers.stop(SESSION, 1, CloseReason.TIMED_OUT)

        answer = await client.answer(waiting)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert answer["error"] == {"code": -32000, "message": "session closed: TIMED_OUT"}
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.reason == "session closed: TIMED_OUT"


async def test_a_wrong_message_ends_only_its_client(host: Host, playwright: Playwright) -> None:
    await host.start()
    good = await attach(playwright, host)
    for message, code in (("nonsense", 1007), (b"binary", 1003)):
        async with connect(host.url()) as socket:
            await socket.send(message)
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == code

    assert await first_page(good).evaluate("1 + 1") == 2


async def test_a_message_in_fragments_is_one_message(host: Host) -> None:
    await host.start()
    async with connect(host.url()) as socket:
        await socket.send(['{"id":1,"met', 'hod":"Browser.', 'getVersion"}'])

        assert '"id":1' in str(await socket.recv())


async def test_attaching_needs_the_right_token(host: Host) -> None:
    await host.start()
    other = "pbs_" + "9" * 26
    base = f"http://127.0.0.1:{host.port}"
    good = attach_token(host.signer)
    cases = [
        (f"/attach/{SESSION}", 401, "TOKEN_INVALID"),
        (f"/attach/{SESSION}?token=nonsense", 401, "TOKEN_INVALID"),
        (f"/attach/{SESSION}?token={attach_token(a_signer())}", 401, "TOKEN_INVALID"),
        (f"/attach/{other}?token={good}", 401, "TOKEN_INVALID"),
        (f"/attach/{other}?token={attach_token(host.signer, session_id=other)}", 404, "BROWSER_NOT_FOUND"),
        (f"/attach/{SESSION}?token={attach_token(host.signer, epoch=2)}", 404, "BROWSER_NOT_FOUND"),
        (f"/elsewhere?token={good}", 404, "BROWSER_NOT_FOUND"),
    ]
    async with httpx.AsyncClient() as http:
        for path, status, reason in cases:
            answer = await http.get(base + path)
            assert (answer.status_code, answer.json()["reason"]) == (status, reason), path

        await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
        gone = await http.get(f"{base}/attach/{SESSION}", headers={"authorization": f"Bearer {good}"})
    assert (gone.status_code, gone.json()["reason"]) == (410, "SESSION_NOT_OPEN")


async def test_a_session_takes_sixteen_clients(host: Host) -> None:
    browser = await host.start()
    async with AsyncExitStack() as stack:
        for _ in range(16):
            socket = await stack.enter_async_context(connect(host.url()))
            await RawClient(socket).call("Browser.getVersion")
        assert browser.client_count == 16

        with pytest.raises(InvalidStatus) as caught:
            await connect(host.url())

        assert caught.value.response.status_code == 429


async def test_a_slow_reader_is_cut_and_others_go_on(host: Host, playwright: Playwright) -> None:
    browser = await host.start()
    good = await attach(playwright, host)
    async with connect(host.url(), max_size=None, max_queue=1) as socket:
        slow = RawClient(socket)
        session = await slow.open_page()
        socket.transport.pause_reading()
        for _ in range(12):
            five_megabytes: dict[str, object] = {"expression": "'x'.repeat(5e6)", "returnByValue": True}
            await slow.send("Runtime.evaluate", five_megabytes, session)

        await until(lambda: browser.client_count == 1, within=20)

        assert await first_page(good).evaluate("1 + 1") == 2
        socket.transport.abort()
