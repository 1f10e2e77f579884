"""Extensions in real browsers: the ad blocker, and the operator's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.extensions.shelf import ExtensionShelf, UnusableExtensions, stocked_shelf
from browser_node.adblock.extension import write_extension
from browser_node.adblock.filter_lists import FilterList
from browser_node.domain.errors import OptionUnavailable
from browser_node.domain.options import ReceiptState
from tests.support.extended_browsers import ExtendedBrowser, Page
from tests.support.real_browsers import Host, hosting_real_browsers
from tests.support.sites import LoopbackResolver, Sites, serving_sites

_NEWS = """<!doctype html><title>loading</title>
<h1 id=headline>News</h1> <div class=ad-overlay style="position:fixed;inset:0;z-index:9">Buy!</div>
<div class=advert id=advert>Buy more!</div>
<script src="http://securepubads.doubleclick.net:PORT/ad.js"></script>
<script src="http://news.example:PORT/own.js"></script>
<img src="http://sb.scorecardresearch.com:PORT/hit.png">"""
_LISTED = """<!doctype html><div class=teaser>1</div><div class=promo>2</div><div class=everywhere>3</div><script>
const ran = [];
const shows = (name) => document.querySelector("." + name).offsetHeight > 0;
const look = () => JSON.stringify({ teaser: shows("teaser"), promo: shows("promo"), everywhere: shows("everywhere"), ran });
</script><script src="http://cdn.example.org:PORT/ad.js"></script><script src="http://cdn.example.org:PORT/needed.js"></script>"""
PAGES: dict[str, str | bytes] = {
    "news.example/": _NEWS,
    "news.example/own.js": "document.title = 'ready'",
    "securepubads.doubleclick.net/ad.js": "window.adRan = true",
    **{f"{name}/": _LISTED for name in ("www.example.org", "news.example.org", "quiet.example.org", "other.example")},
    "cdn.example.org/ad.js": "ran.push('ad')",
    "cdn.example.org/needed.js": "ran.push('needed')",
    "sb.scorecardresearch.com/hit.png": b"",
}
_LOOK = """JSON.stringify({
  title: document.title, ad: window.adRan === true,
  overlay: document.querySelector('.ad-overlay').offsetHeight > 0, advert: advert.offsetHeight > 0,
  headline: headline.offsetHeight > 0, sheets: document.adoptedStyleSheets.length, styles: document.styleSheets.length,
  attributes: document.querySelector('.ad-overlay').getAttribute('style'),
})"""
_OVERLAY = "position:fixed;inset:0;z-index:9"
_CLEAN = {
    "title": "ready",
    "ad": False,
    "overlay": False,
    "advert": False,
    "headline": True,
    "sheets": 0,
    "styles": 0,
    "attributes": _OVERLAY,
}


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with hosting_real_browsers(resolver=LoopbackResolver(), confined=True) as host:
        yield host


@pytest.fixture
async def sites() -> AsyncIterator[Sites]:
    async with serving_sites(PAGES) as sites:
        yield sites


def a_shelf(
    host: Host, *, extensions: Path | None = None, ad_blocker: Path | None = None
) -> AbstractAsyncContextManager[ExtensionShelf]:
    return stocked_shelf(host.scratch / "extensions", extensions=extensions, ad_blocker=ad_blocker)


def an_extension(folder: Path, **manifest: object) -> Path:
    """Write an unpacked extension that marks every page."""
    folder.mkdir(parents=True)
    script = {"matches": ["<all_urls>"], "js": ["mark.js"], "run_at": "document_start"}
    content = {"manifest_version": 3, "name": "Marker", "version": "3.1", "content_scripts": [script], **manifest}
    (folder / "manifest.json").write_text(json.dumps(content))
    (folder / "mark.js").write_text("document.documentElement.dataset.marked = 'yes'")
    return folder


async def look(page: Page) -> dict[str, object]:
    seen: dict[str, object] = json.loads(await page.value(_LOOK))
    return seen


async def test_ads_are_blocked_on_the_first_navigation_of_a_warm_browser_in_every_context(
    host: Host, sites: Sites
) -> None:
    without = await ExtendedBrowser.start(host, number=1)
    control = await without.first_page()
    await control.open(sites.url("news.example/"))
    assert await look(control) == {**_CLEAN, "ad": True, "overlay": True, "advert": True}
    assert "sb.scorecardresearch.com/hit.png" in sites.requested
    sites.requested.clear()

    async with a_shelf(host) as shelf:
        warm = await ExtendedBrowser.start(host, number=2)
        loaded = await warm.load(ExtensionLoader(shelf, captcha_solver=None), "ad-blocker")
        page, own = await warm.first_page(), await warm.page_in_own_context()
        for each in (page, own):
            await each.open(sites.url("news.example/"))
            assert await look(each) == _CLEAN

    assert {name.split("/")[0] for name in sites.requested} == {"news.example"}
    assert loaded.receipt.state is ReceiptState.APPLIED
    assert loaded.receipt.requested == "ad-blocker"
    assert loaded.receipt.reported.startswith("ad-blocker: Browserfleet ad blocker 1.0 (")


async def test_lists_hide_by_host_and_their_exceptions_hold(host: Host, sites: Sites, tmp_path: Path) -> None:
    rules = """
        example.org##.teaser
        news.example.org#@#.teaser
        ##.promo
        news.example.org#@#.promo
        ##.everywhere
        @@||quiet.example.org^$generichide
        ||cdn.example.org^$script
        @@/needed.js$script
    """
    await asyncio.to_thread(write_extension, [FilterList("mine", rules)], tmp_path / "made", version="7.1")
    async with a_shelf(host, ad_blocker=tmp_path / "made") as shelf:
        browser = await ExtendedBrowser.start(host)
        loaded = await browser.load(ExtensionLoader(shelf, captcha_solver=None), "ad-blocker")
        page = await browser.first_page()
        for name, seen in (
            ("www.example.org", {"ran": ["needed"]}),
            ("news.example.org", {"teaser": True, "promo": True, "ran": ["needed"]}),
            ("quiet.example.org", {"everywhere": True, "ran": ["needed"]}),
            ("other.example", {"teaser": True, "ran": ["needed"]}),
        ):
            expected = {"teaser": False, "promo": False, "everywhere": False, **seen}
            await page.open(sites.url(f"{name}/"))
            # What is hidden on one host is looked up while the page already shows.
            await page.until(
                f"look() === {json.dumps(json.dumps(expected, separators=(',', ':')))}",
                what=f"{name} is as its lists say",
            )
        extension_id = loaded.receipt.reported.rpartition("(")[2].removesuffix(")")
        await page.value(
            f"fetch('chrome-extension://{extension_id}/hosts/1.json').then(() => found = 'yes', () => found = 'no'); 0"
        )
        # A page that asks for the extension by its ID does not find it.
        assert await page.until("globalThis.found", what="the page has looked for the extension") == "no"


async def test_the_operators_extension_is_loaded_by_its_name(host: Host, sites: Sites, tmp_path: Path) -> None:
    an_extension(tmp_path / "marker").chmod(0o700)
    async with a_shelf(host, extensions=tmp_path) as shelf:
        loader = ExtensionLoader(shelf, captcha_solver=None)
        assert loader.names == ("ad-blocker", "marker")
        browser = await ExtendedBrowser.start(host)
        loaded = await browser.load(loader, "marker", "ad-blocker")
        page = await browser.page_in_own_context()
        await page.open(sites.url("news.example/"))

        assert await page.value("document.documentElement.dataset.marked") == "yes"
        assert await look(page) == _CLEAN
        assert "marker: Marker 3.1 (" in loaded.receipt.reported
        with pytest.raises(OptionUnavailable) as refused:
            await browser.load(loader, "captcha-solver")
        assert refused.value.metadata == {"option": "extensions", "value": "captcha-solver"}


async def test_an_extension_that_the_browser_does_not_load_is_found_at_the_start(host: Host, tmp_path: Path) -> None:
    an_extension(tmp_path / "good")
    an_extension(tmp_path / "bad", content_scripts="none")
    async with a_shelf(host, extensions=tmp_path) as shelf:
        browser = await ExtendedBrowser.start(host)
        with pytest.raises(UnusableExtensions, match=r"bad: the browser does not load it") as raised:
            await browser.prove(ExtensionLoader(shelf, captcha_solver=None))
        assert len(raised.value.faults) == 1


async def test_copies_of_sessions_share_files_and_take_nothing_from_the_shelf(host: Host) -> None:
    async with a_shelf(host) as shelf:
        extension = shelf.get("ad-blocker")
        assert extension is not None
        browser = await ExtendedBrowser.start(host)
        await browser.load(ExtensionLoader(shelf, captcha_solver=None), "ad-blocker")
        copy = browser._tree.folders.root / "x-ad-blocker"

        def links() -> tuple[int, bool, bool]:
            rules = (copy / "rules.json").stat()
            return rules.st_nlink, (copy / "_metadata").is_dir(), (extension.folder / "_metadata").exists()

        assert await asyncio.to_thread(links) == (2, True, False)
