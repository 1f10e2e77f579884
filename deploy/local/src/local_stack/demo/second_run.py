"""Run 2: another program, which knows nothing but the session's ID and how to reach the fleet.

`python -m local_stack.demo.second_run pbs_…` prints what it found as one line of JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from browserfleet.client import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What run 2 met, and the file that it asked for."""

    page_count: int
    url: str
    user: str
    user_after_reload: str
    file_name: str


async def find_page_and_export(session_id: str) -> Found:
    """Attach by ID, look at the page that run 1 left, export it as CSV with the page's own form, detach."""
    async with Fleet.from_env() as fleet, await fleet.attach(session_id) as session:
        browser = await session.playwright()
        pages = browser.contexts[0].pages
        page = pages[0]
        url = page.url
        user = await page.locator(".actor").inner_text()
        await page.reload()
        user_after_reload = await page.locator(".actor").inner_text()
        await page.get_by_label("download file").check()
        await page.get_by_label("stream all rows").check()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Export CSV").click()
        await session.downloads(wait="60s")
        return Found(
            page_count=len(pages),
            url=url,
            user=user,
            user_after_reload=user_after_reload,
            file_name=(await download.value).suggested_filename,
        )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(find_page_and_export(sys.argv[1])))))
