"""One trace leads through the services, and secrets lead nowhere."""

import pytest
from playwright.async_api import async_playwright

from tests.support.pages import serving_pages
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


async def test_one_trace_runs_from_create_through_node_to_artifact_store(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        await browser.contexts[0].pages[0].goto(url)
        await browser.close()
        await caller.close(session.id)

        async def services_of_the_create_trace() -> bool:
            traces = {span.trace_id for span in stack.collector.spans if "CreateSession" in span.name}
            spans = [span for span in stack.collector.spans if span.trace_id in traces]
            mine = {span.trace_id for span in spans if span.session_id == session.id}
            found = {span.service for span in spans if span.trace_id in mine}
            return {"session-api", "browser-node", "artifact-store"} <= found

        await eventually(services_of_the_create_trace, within=30, what="a create's trace reaches artifact-store")


async def test_a_reaped_sessions_trace_runs_from_create_over_nats_to_the_reaper(stack: RunningStack) -> None:
    key = await stack.key("o_hasty", max_timeout=8)
    async with stack.caller(key) as caller:
        await caller.create(minutes=5)

        async def reaper_in_a_create_trace() -> bool:
            traces = {span.trace_id for span in stack.collector.spans if "CreateSession" in span.name}
            return any(span.service == "reaper" and span.trace_id in traces for span in stack.collector.spans)

        await eventually(reaper_in_a_create_trace, within=30, what="a create's trace reaches the reaper")


async def test_every_service_measures_its_calls(stack: RunningStack) -> None:
    async def measured() -> bool:
        services = {service for service, name in stack.collector.metrics if name == "rpc.server.call.duration"}
        return {"session-api", "browser-node", "artifact-store"} <= services

    await eventually(measured, within=30, what="call durations arrive from each service")


async def test_no_log_holds_a_key_or_a_token(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        session = await caller.create()
        token = session.attach.edge_url.partition("token=")[2]
        await caller.close(session.id)
    secrets = [caller.key, token, stack.local.plan.nats.token, stack.local.plan.postgres.password]
    for log in stack.local.plan.state.logs.iterdir():
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log.name
