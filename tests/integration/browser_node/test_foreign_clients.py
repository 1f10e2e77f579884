"""Clients that nobody here wrote, unmodified: what they do every day works, and what they may not is refused."""

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import async_playwright

from browser_node.domain.artifact import ArtifactKind
from tests.support.js_clients import run_client
from tests.support.node_fakes import SESSION
from tests.support.pages import FILE, serving_pages
from tests.support.real_browsers import Host, hosting_real_browsers
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)


def put_upload(host: Host) -> Path:
    """Put a file where the session's clients may take it from."""
    [folder] = host.scratch.glob("*/u")
    file = folder / "given.txt"
    file.write_text("given")
    owner = folder.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    return file


async def downloads(host: Host) -> list[bytes]:
    """Return what arrived in the spool, without recordings, once there is a download."""
    while not any(item.artifact.kind is ArtifactKind.DOWNLOAD for item in host.taken):
        async with asyncio.timeout(20):
            host.taken.append(await host.spool.next())
    found = [item.path for item in host.taken if item.artifact.kind is ArtifactKind.DOWNLOAD]
    return [await asyncio.to_thread(path.read_bytes) for path in found]


@pytest.mark.parametrize("script", ["puppeteer.mjs", "chrome-remote-interface.mjs"])
async def test_a_client_from_npm_does_its_work_and_leaves(script: str) -> None:
    async with hosting_real_browsers() as host, serving_pages() as site:
        browser = await host.start()
        upload = await asyncio.to_thread(put_upload, host)

        seen = await run_client(script, host.url(), site, str(upload))

        assert "Chrome/" in seen["version"]
        assert (seen["title"], seen["sum"], seen["screenshot"]) == ("A page", 2, "PNG")
        assert (seen["download"], seen["upload"]) == ("completed", "given")
        assert "upload folder" in seen["outside"]
        assert "no files" in seen["file"]
        assert seen.get("emulated", [400, "Asia/Tokyo"]) == [400, "Asia/Tokyo"]
        assert seen.get("intercepted", "made up") == "made up"
        assert await downloads(host) == [FILE]
        await until(lambda: browser.client_count == 0)
        # Its context went with it: the session's own page is left.
        await until(lambda: [target.type for target in browser.targets] == ["page"])


async def test_playwright_does_its_work_and_leaves() -> None:
    async with hosting_real_browsers() as host, serving_pages() as site, async_playwright() as playwright:
        browser = await host.start()
        client = await playwright.chromium.connect_over_cdp(host.url())
        page = await (
            await client.new_context(timezone_id="Asia/Tokyo", viewport={"width": 400, "height": 300})
        ).new_page()
        await page.goto(site)
        assert await page.title() == "A page"
        zone = "[innerWidth, Intl.DateTimeFormat().resolvedOptions().timeZone]"
        assert await page.evaluate(zone) == [400, "Asia/Tokyo"]
        assert (await page.screenshot())[1:4] == b"PNG"
        async with page.expect_download() as waiting:
            await page.click("#file")
        assert (await waiting.value).suggested_filename == "table.csv"
        await page.set_content("<input type=file>")
        await page.set_input_files("input", {"name": "given.txt", "mimeType": "text/plain", "buffer": b"given"})
        assert await page.evaluate("document.querySelector('input').files[0].text()") == "given"
        with pytest.raises(PlaywrightError, match="no files"):
            await page.goto("file:///etc/hostname")
        assert await downloads(host) == [FILE]

        await client.close()

        await until(lambda: browser.client_count == 0)
        await until(lambda: [target.type for target in browser.targets] == ["page"])
        assert host.browsers.find(SESSION, 1) is browser
