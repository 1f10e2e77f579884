"""Attaching by session ID with clients that nobody here wrote."""

import hashlib
from datetime import timedelta

import httpx
import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from browserfleet.artifact.v1 import artifact_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.support.js_clients import run_client
from tests.support.pages import FILE, serving_pages
from tests.support.real_browsers import RawClient
from tests.support.stack import Caller, RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


async def test_two_clients_at_once_see_the_same_pages_and_leave_without_disturbing(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        first = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        second = await playwright.chromium.connect_over_cdp(session.cdp_url, headers={"x-api-key": caller.key})
        page = first.contexts[0].pages[0]
        await page.goto(url)
        seen = second.contexts[0].pages[0]
        assert await seen.title() == "A page"
        await second.close()
        assert await page.text_content("#head") == "Hello"
        await first.close()
        assert (await caller.get(session.id)).state == session_pb2.Session.STATE_RUNNING
        third = await playwright.chromium.connect_over_cdp(session.attach.edge_url)
        assert await third.contexts[0].pages[0].title() == "A page"
        cookies = await third.contexts[0].cookies()
        assert [cookie.get("name") for cookie in cookies] == ["seen"]
        await third.close()
        await caller.close(session.id)


async def test_a_download_is_stored_whatever_folder_the_client_asked_for(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        browser = await playwright.chromium.connect_over_cdp(session.attach.edge_url)
        page = browser.contexts[0].pages[0]
        await page.goto(url)
        async with page.expect_download() as download:
            await page.click("#file")
        assert (await download.value).suggested_filename == "table.csv"
        [stored] = await _stored(caller, session.id, artifact_pb2.Artifact.KIND_DOWNLOAD)
        assert stored.display_name == "table.csv"
        assert stored.size_bytes == len(FILE)
        assert stored.sha256 == hashlib.sha256(FILE).hexdigest()
        async with httpx.AsyncClient() as http:
            answer = await http.get(await caller.url_of(stored.id))
        assert answer.content == FILE
        assert answer.headers["content-disposition"].startswith("attachment")
        await browser.close()
        assert not stored.HasField("expire_time")
        closed = await caller.close(session.id)

        async def expires() -> list[artifact_pb2.Artifact]:
            return [found for found in await caller.list_artifacts(session.id) if found.HasField("expire_time")]

        [kept] = await eventually(expires, within=20, what="artifact-store hears of the end")
        assert kept.id == stored.id
        assert kept.expire_time.ToDatetime() == closed.end_time.ToDatetime() + timedelta(days=30)


async def test_each_run_leaves_a_video(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        for _ in range(2):
            browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
            await browser.contexts[0].pages[0].goto(url)
            await browser.close()
        await caller.close(session.id)
        videos = await _stored(caller, session.id, artifact_pb2.Artifact.KIND_RECORDING, count=2)
        assert {video.content_type for video in videos} == {"video/webm"}
        assert len({video.run_id for video in videos}) == 2


async def test_clients_are_told_when_their_session_closes_and_cannot_attach_again(stack: RunningStack) -> None:
    async with stack.caller() as caller, async_playwright() as playwright:
        session = await caller.create()
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        closed = await caller.close(session.id)
        assert closed.state == session_pb2.Session.STATE_CLOSED
        assert closed.close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED

        async def disconnected() -> bool:
            return not browser.is_connected()

        await eventually(disconnected, within=5, what="the client hears of the end")
        with pytest.raises(PlaywrightError, match="410"):
            await playwright.chromium.connect_over_cdp(session.attach.edge_url)
        with pytest.raises(PlaywrightError, match=r"410|404"):
            await playwright.chromium.connect_over_cdp(session.attach.direct_url)


async def test_puppeteer_works_through_the_edge_and_its_download_is_stored(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as site:
        session = await caller.create()

        seen = await run_client("puppeteer.mjs", session.attach.edge_url, site)

        assert (seen["title"], seen["screenshot"], seen["download"]) == ("A page", "PNG", "completed")
        assert "upload folder" in seen["outside"]
        [stored] = await _stored(caller, session.id, artifact_pb2.Artifact.KIND_DOWNLOAD)
        assert stored.sha256 == hashlib.sha256(FILE).hexdigest()
        await caller.close(session.id)


async def test_pages_are_found_through_the_edge_and_an_observer_only_reads(stack: RunningStack) -> None:
    async with stack.caller() as caller, httpx.AsyncClient() as http:
        session = await caller.create()
        answer = await http.get(f"{session.cdp_url}/json/list", headers={"x-api-key": caller.key})
        [page] = [target for target in answer.json() if target["type"] == "page"]
        async with connect(page["webSocketDebuggerUrl"]) as socket:
            told = await RawClient(socket).call("Runtime.evaluate", {"expression": "location.href"})
        assert told["result"]["value"] == page["url"]
        request = session_service_pb2.CreateAttachEndpointRequest(
            session_id=session.id, scope=session_pb2.ATTACH_SCOPE_OBSERVE
        )
        observing = await caller.sessions.CreateAttachEndpoint(request, metadata=caller.metadata)
        for url in (observing.direct_url, observing.edge_url):
            async with connect(url) as socket:
                observer = RawClient(socket)
                seen = await observer.open_page()
                refused = await observer.answer(await observer.send("Runtime.evaluate", {"expression": "1"}, seen))
            assert "observing" in refused["error"]["message"]
        await caller.close(session.id)


async def _stored(
    caller: Caller, session_id: str, kind: artifact_pb2.Artifact.Kind.ValueType, count: int = 1
) -> list[artifact_pb2.Artifact]:
    async def stored() -> list[artifact_pb2.Artifact]:
        artifacts = [found for found in await caller.list_artifacts(session_id) if found.kind == kind]
        done = [found for found in artifacts if found.state == artifact_pb2.Artifact.STATE_STORED]
        return done if len(done) == count else []

    return await eventually(stored, within=40, what=f"{count} artifacts are stored")
