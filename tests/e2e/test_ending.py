"""Sessions end on time, and what ends a process never leaves a browser behind."""

import time

import grpc
import psutil
import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Playwright, async_playwright

from browserfleet.artifact.v1 import artifact_pb2
from browserfleet.session.v1 import session_pb2
from tests.support.pages import serving_pages
from tests.support.stack import SERVERS, SERVICES, Caller, RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

_FAILED = session_pb2.Session.STATE_FAILED


async def test_a_session_left_alone_is_reaped_though_a_client_is_attached(stack: RunningStack) -> None:
    key = await stack.key("o_hasty", max_timeout=8)
    async with stack.caller(key) as caller, async_playwright() as playwright:
        session = await caller.create(minutes=5)
        assert session.timeout.seconds == 8
        assert "capped" in session.warnings[0]
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)

        async def ended() -> session_pb2.Session | None:
            now = await caller.get(session.id)
            return now if now.end_time.seconds else None

        final = await eventually(ended, within=20, what="the session is reaped")
        assert final.state == session_pb2.Session.STATE_CLOSED
        assert final.close_reason == session_pb2.CLOSE_REASON_TIMED_OUT
        overshoot = final.end_time.ToDatetime() - session.expire_time.ToDatetime()
        assert overshoot.total_seconds() <= 5

        async def disconnected() -> bool:
            return not browser.is_connected()

        await eventually(disconnected, within=5, what="the client hears of the end")


async def test_without_a_reaper_the_node_ends_its_session_on_time_by_itself(stack: RunningStack) -> None:
    key = await stack.key("o_hasty", max_timeout=8)
    async with stack.caller(key) as caller:
        reaper = psutil.Process(stack.pid("reaper"))
        reaper.suspend()
        try:
            session = await caller.create(minutes=5)

            async def ended() -> session_pb2.Session | None:
                now = await caller.get(session.id)
                return now if now.end_time.seconds else None

            final = await eventually(ended, within=20, what="the node ends the session")
        finally:
            reaper.resume()
        assert final.close_reason == session_pb2.CLOSE_REASON_TIMED_OUT
        overshoot = final.end_time.ToDatetime() - session.expire_time.ToDatetime()
        assert 0 <= overshoot.total_seconds() <= 5


@pytest.mark.parametrize("name", [*SERVERS, *SERVICES])
async def test_after_a_kill_of_any_process_the_fleet_recovers_by_itself(stack: RunningStack, name: str) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        before = await caller.create()
        killed = time.monotonic()
        await stack.kill(name)
        await stack.wait_ready()

        async def works_again() -> str | None:
            try:
                return await _download_something(caller, playwright, url)
            except (grpc.aio.AioRpcError, PlaywrightError):
                return None

        session_id = await eventually(works_again, within=30, what="a session is created, used and closed")

        async def stored() -> bool:
            try:
                artifacts = await caller.list_artifacts(session_id or "")
            except grpc.aio.AioRpcError:
                return False
            return artifact_pb2.Artifact.STATE_STORED in [artifact.state for artifact in artifacts]

        await eventually(stored, within=killed + 30 - time.monotonic(), what="what it downloaded is stored")

        async def only_wanted_browsers() -> bool:
            running = {session.id for session in await caller.running()}
            return len(running) == sum(len(stack.browsers(node)) for node in ("node-1", "node-2"))

        await eventually(only_wanted_browsers, within=20, what="every browser belongs to a running session")
        await caller.close(before.id)


async def test_a_killed_nodes_browsers_are_gone_at_once_and_its_sessions_fail(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        sessions = [await caller.create(), await caller.create()]
        browsers = {node: stack.browsers(node) for node in ("node-1", "node-2")}
        victim = next(node for node in browsers if browsers[node])
        families = [child for browser in browsers[victim] for child in [browser, *browser.children(recursive=True)]]
        await stack.kill(victim)

        async def gone() -> bool:
            return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in families)

        await eventually(gone, within=2, what="the killed node's browsers are gone")

        async def failed() -> bool:
            states = [await caller.get(session.id) for session in sessions]
            lost = [state for state in states if state.close_reason == session_pb2.CLOSE_REASON_NODE_LOST]
            assert all(state.state == _FAILED for state in lost)
            return len(lost) == len(browsers[victim])

        await eventually(failed, within=20, what="the sessions fail with NODE_LOST")
        for session in sessions:
            await caller.close(session.id)
        await stack.wait_ready()


async def test_a_crashed_browser_fails_its_session_within_two_seconds(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        others = {node: {browser.pid for browser in stack.browsers(node)} for node in ("node-1", "node-2")}
        session = await caller.create()
        [browser] = [browser for node in others for browser in stack.browsers(node) if browser.pid not in others[node]]
        browser.kill()

        async def failed() -> bool:
            now = await caller.get(session.id)
            return now.state == _FAILED and now.close_reason == session_pb2.CLOSE_REASON_BROWSER_CRASHED

        await eventually(failed, within=2, what="the session fails with BROWSER_CRASHED")


async def _download_something(caller: Caller, playwright: Playwright, url: str) -> str:
    session = await caller.create()
    browser = await playwright.chromium.connect_over_cdp(session.attach.edge_url)
    page = browser.contexts[0].pages[0]
    await page.goto(url)
    async with page.expect_download():
        await page.click("#file")
    await browser.close()
    closed = await caller.close(session.id)
    assert closed.close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED
    return session.id
