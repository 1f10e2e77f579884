"""Run 1: logs in by the form and opens a table."""

from playwright.async_api import expect as expect_page

from browserfleet.client import Session
from local_stack.demo.web_application import USER, WebApplication


async def log_in_and_open_table(session: Session, application: WebApplication) -> str:
    """Attach, do what a person would, detach; return the title of the page that stays open."""
    async with session:
        browser = await session.playwright()
        page = browser.contexts[0].pages[0]
        await page.goto(f"{application.url}/-/login")
        await page.get_by_label("Username").fill(USER)
        await page.get_by_label("Password").fill(application.password)
        await page.get_by_role("button", name="Log in").click()
        await expect_page(page.locator(".actor")).to_have_text(USER)
        await page.get_by_role("link", name="shop", exact=True).first.click()
        await page.goto(application.orders_url)
        await expect_page(page.get_by_role("heading", name="orders")).to_be_visible()
        for _ in range(5):
            await page.mouse.wheel(0, 300)
            await page.wait_for_timeout(200)
        return await page.title()
