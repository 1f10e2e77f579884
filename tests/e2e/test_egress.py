"""What pages of the local stack reach: people's own applications, and nothing of the fleet."""

import pytest
from playwright.async_api import async_playwright

from tests.support.pages import serving_pages
from tests.support.stack import RunningStack

pytestmark = pytest.mark.timeout(120)


async def test_pages_reach_an_application_on_this_machine_but_no_server_of_the_fleet(stack: RunningStack) -> None:
    async with stack.caller() as caller, serving_pages() as url, async_playwright() as playwright:
        session = await caller.create()
        browser = await playwright.chromium.connect_over_cdp(session.attach.direct_url)
        page = browser.contexts[0].pages[0]
        for address in (url, url.replace("127.0.0.1", "localhost")):
            await page.goto(address)
            assert await page.title() == "A page"
        ports = stack.local.plan.ports.occupied
        assert len(ports) > 10
        for port in ports:
            answer = await page.goto(f"http://127.0.0.1:{port}/")
            assert answer is not None
            assert (answer.status, await answer.text()) == (403, "This port belongs to the fleet itself.\n")
        answer = await page.goto(f"http://localhost:{ports[0]}/")
        assert answer is not None
        assert answer.status == 403
        answer = await page.goto("http://10.0.0.1/")
        assert answer is not None
        assert answer.status == 403
        await browser.close()
        await caller.close(session.id)
