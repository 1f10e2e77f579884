"""What a session asks of its browser, who may watch it and who may act in it, through the whole fleet."""

import grpc
import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import async_playwright

from browserfleet.browser.v1 import browser_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.status import from_rpc_error
from tests.support.live import watching
from tests.support.pages import serving_pages
from tests.support.stack import Caller, RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

_SPEC = browser_pb2.BrowserSpec(
    viewport=browser_pb2.Viewport(width=900, height=600),
    locale="de-DE",
    timezone="Europe/Berlin",
    headers={"x-secret": "canary-header"},
    extensions=["ad-blocker"],
)


async def _create(caller: Caller, spec: browser_pb2.BrowserSpec) -> session_pb2.Session:
    request = session_service_pb2.CreateSessionRequest(spec=spec)
    return await caller.sessions.CreateSession(request, metadata=caller.metadata, timeout=60)


async def _endpoint(caller: Caller, session_id: str, scope: session_pb2.AttachScope.ValueType, control: int = 0) -> str:
    request = session_service_pb2.CreateAttachEndpointRequest(
        session_id=session_id, scope=scope, control_generation=control
    )
    made = await caller.sessions.CreateAttachEndpoint(request, metadata=caller.metadata, timeout=10)
    assert made.scope == scope
    return made.direct_url


async def test_what_a_session_asks_is_applied_and_receipted_and_its_secrets_are_kept(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await _create(caller, _SPEC)
        receipts = {receipt.option: receipt for receipt in session.browser.receipts}
        for option in ("viewport", "locale", "timezone", "extensions", "proxy_location"):
            assert receipts[option].state == browser_pb2.Receipt.STATE_APPLIED, receipts[option]
        assert (receipts["viewport"].reported, receipts["timezone"].reported) == ("900x600", "Europe/Berlin")
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        page = browser.contexts[0].pages[0]
        await page.goto(url)
        seen = await page.evaluate(
            "[innerWidth, innerHeight, navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]"
        )
        assert seen == [900, 600, "de-DE", "Europe/Berlin"]
        await browser.close()
        stored = await caller.get(session.id)
        assert list(stored.spec.headers) == ["x-secret"]
        assert "canary-header" not in str(session) + str(stored)
        await caller.close(session.id)


async def test_what_no_node_can_do_is_refused_at_once(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        for spec in (
            browser_pb2.BrowserSpec(proxy_location="ATLANTIS"),
            browser_pb2.BrowserSpec(extensions=["captcha-solver"]),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await _create(caller, spec)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert from_rpc_error(refused.value).reason == "OPTION_UNAVAILABLE"


async def test_people_watch_take_control_and_hand_it_back(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        page = browser.contexts[0].pages[0]
        await page.goto(url)
        await page.set_content("<input id=name autofocus>")

        async with watching(await _endpoint(caller, session.id, session_pb2.ATTACH_SCOPE_VIEW)) as viewer:
            await viewer.tab()
            taken = await caller.sessions.TakeControl(
                session_service_pb2.TakeControlRequest(session_id=session.id, holder="ann"),
                metadata=caller.metadata,
                timeout=10,
            )
            await viewer.sees(lambda one: one.last("control") == {"type": "control", "held": True, "yours": False})
            generation = taken.control.generation
            address = await _endpoint(caller, session.id, session_pb2.ATTACH_SCOPE_CONTROL, generation)
            async with watching(address) as person:
                tab = await person.tab()
                await person.say("text", tab=tab, text="by hand")

                async def typed() -> bool:
                    return bool(await page.evaluate("document.querySelector('#name').value") == "by hand")

                await eventually(typed, within=10, what="what the person typed is on the page")
                with pytest.raises(PlaywrightError):
                    await page.keyboard.type("by the agent")
            await caller.sessions.ReleaseControl(
                session_service_pb2.ReleaseControlRequest(session_id=session.id, generation=generation),
                metadata=caller.metadata,
                timeout=10,
            )
            await viewer.sees(lambda one: one.last("control") == {"type": "control", "held": False, "yours": False})
            await page.keyboard.type("!")
            assert await page.evaluate("document.querySelector('#name').value") == "by hand!"
        await browser.close()
        await caller.close(session.id)


async def test_a_token_for_watching_does_not_attach(stack: RunningStack) -> None:
    async with stack.caller() as caller, async_playwright() as playwright:
        session = await caller.create()
        watch = await _endpoint(caller, session.id, session_pb2.ATTACH_SCOPE_VIEW)
        with pytest.raises(PlaywrightError, match="403"):
            await playwright.chromium.connect_over_cdp(watch.replace("/live/", "/attach/"))
        await caller.close(session.id)
