"""Options of sessions in real Chromium: on every page, in every context, whoever opens it, and what receipts say."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

from browser_node.adapters.chromium.launch.detection import find_programs
from browser_node.adapters.chromium.launch.kinds import Model
from browser_node.domain.browser import BrowserFacts, BrowserKind, SessionId
from browser_node.domain.errors import InvalidOption, OptionUnavailable
from browser_node.domain.options import BrowserOptions, BrowserTier, Geolocation, Receipt, ReceiptState, Viewport
from tests.support.option_pages import OptionSite, serving_option_pages
from tests.support.real_browsers import Host, hosting_real_browsers
from tests.support.waiting import until

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
ASKED = BrowserOptions(
    viewport=Viewport(900, 500),
    user_agent=AGENT,
    locale="de-DE",
    timezone="Asia/Tokyo",
    geolocation=Geolocation(latitude=48.2, longitude=16.4, accuracy_meters=10),
    headers={"X-Fleet": "secret-value"},
    permissions=("geolocation", "notifications"),
)
LOOK = """async () => {
  const place = await new Promise(done => navigator.geolocation.getCurrentPosition(
    found => done([found.coords.latitude, found.coords.longitude]), error => done(error.message)));
  const hints = await navigator.userAgentData.getHighEntropyValues(['platformVersion', 'fullVersionList']);
  return {
    agent: navigator.userAgent, hints: [hints.platform, hints.platformVersion],
    brands: hints.brands.map(brand => brand.brand + ' ' + brand.version),
    languages: navigator.languages, locale: new Intl.NumberFormat().resolvedOptions().locale,
    zone: Intl.DateTimeFormat().resolvedOptions().timeZone, offset: new Date(0).getTimezoneOffset(),
    size: [innerWidth, innerHeight], place,
    notifications: (await navigator.permissions.query({name: 'notifications'})).state,
  };
}"""
FIRST = "({agent: earlyAgent, languages: earlyLanguages, zone: earlyZone})"
WORKER = """() => new Promise(done => {
  const code = `postMessage({agent: navigator.userAgent, languages: navigator.languages,
    zone: Intl.DateTimeFormat().resolvedOptions().timeZone})`;
  new Worker(URL.createObjectURL(new Blob([code]))).onmessage = message => done(message.data);
})"""
SEEN = {
    "agent": AGENT,
    "hints": ["Windows", "10.0.0"],
    "languages": ["de-DE", "de"],
    "locale": "de-DE",
    "zone": "Asia/Tokyo",
    "offset": -540,
    "size": [900, 500],
    "place": [48.2, 16.4],
    "notifications": "granted",
}


@pytest.fixture
async def site() -> AsyncIterator[OptionSite]:
    async with serving_option_pages() as site:
        yield site


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


async def attach(playwright: Playwright, host: Host) -> Browser:
    return await playwright.chromium.connect_over_cdp(host.url())


def receipts_of(facts: BrowserFacts) -> dict[str, Receipt]:
    return {receipt.option: receipt for receipt in facts.receipts}


async def check_page(page: Page, site: OptionSite) -> None:
    """Everything that was asked holds on a page, from its first script and its first request on."""
    # A window's new size reaches its page a moment after the window has it.
    await page.wait_for_function("innerWidth === 900 && innerHeight === 500")
    seen = await page.evaluate(LOOK)
    assert "Chromium 141" in seen.pop("brands")
    assert seen == SEEN
    early = await page.evaluate(FIRST)
    assert early == {name: SEEN[name] for name in early}
    worker = await page.evaluate(WORKER)
    assert worker == {name: SEEN[name] for name in worker}
    requests = site.requests_of(page.url)
    assert len(requests) >= 1
    for headers in requests:
        assert headers["x-fleet"] == "secret-value"
        assert headers["user-agent"] == AGENT
        assert headers["accept-language"].startswith("de-DE,de")
    # Of a tab without an opener, the first request is made up before anything can be said to it.
    assert all('Chromium";v="141"' in headers["sec-ch-ua"] for headers in requests[page.url == site.page("tab") :])


async def opened_by(page: Page, expression: str) -> Page:
    async with page.expect_popup() as waiting:
        await page.evaluate(expression)
    popup = await waiting.value
    await popup.wait_for_load_state()
    return popup


async def test_options_hold_in_every_page_of_every_context(
    host: Host, site: OptionSite, playwright: Playwright
) -> None:
    await host.start(options=ASKED)
    client = await attach(playwright, host)
    default = client.contexts[0]
    own: BrowserContext = await client.new_context(no_viewport=True)

    first = default.pages[0]
    await first.goto(site.page("first"))
    pages = [first, await default.new_page(), await own.new_page()]
    for number, page in enumerate(pages[1:]):
        await page.goto(site.page(f"new-{number}"))
    pages.append(await opened_by(first, f"window.open('{site.page('tab')}', '_blank', 'noopener')"))
    pages.append(await opened_by(first, f"window.open('{site.page('popup')}', 'p', 'width=300,height=200')"))
    pages.append(await opened_by(pages[2], f"window.open('{site.page('own-popup')}')"))

    for page in pages:
        await check_page(page, site)

    # A page that shares its process with one that is gone keeps what it had.
    await pages[0].close()
    await pages[4].reload()
    await check_page(pages[4], site)


async def test_what_a_client_changed_is_as_it_was_when_it_has_left(
    host: Host, site: OptionSite, playwright: Playwright
) -> None:
    browser = await host.start(options=ASKED)
    client = await attach(playwright, host)
    await client.contexts[0].grant_permissions(["midi"])
    page = client.contexts[0].pages[0]
    await page.set_viewport_size({"width": 500, "height": 400})
    await client.close()
    await until(lambda: browser.client_count == 0)

    page = (await attach(playwright, host)).contexts[0].pages[0]
    await page.goto(site.page("later"))

    await check_page(page, site)


async def test_receipts_say_what_the_browser_reports(host: Host) -> None:
    browser = await host.start(options=ASKED)

    receipts = receipts_of(browser.facts)

    assert list(receipts) == [
        "browser_type",
        "tier",
        "viewport",
        "user_agent",
        "locale",
        "timezone",
        "geolocation",
        "headers",
        "permissions",
        "proxy_location",
    ]
    states = {option: receipt.state for option, receipt in receipts.items()}
    unverified = {option for option, state in states.items() if state is ReceiptState.UNVERIFIED}
    assert unverified == {"geolocation", "headers"}
    assert all(states[option] is ReceiptState.APPLIED for option in set(states) - unverified)
    assert receipts["viewport"].reported == "900x500"
    assert receipts["user_agent"].reported == browser.facts.user_agent == AGENT
    assert receipts["permissions"].reported == "geolocation, notifications"
    assert receipts["headers"].requested == "X-Fleet"
    assert "secret-value" not in repr(browser.facts)


async def test_receipts_say_where_the_browser_puts_it_otherwise(host: Host) -> None:
    browser = await host.start(options=BrowserOptions(locale="de-GB", timezone="Asia/Kolkata"))

    receipts = receipts_of(browser.facts)

    zone = receipts["timezone"]
    assert (zone.state, zone.reported) == (ReceiptState.APPLIED, "Asia/Calcutta")
    assert (receipts["locale"].state, receipts["locale"].reported) == (ReceiptState.APPLIED, "de-GB")
    assert receipts["viewport"] == Receipt(
        option="viewport", requested="", reported="1280x720", state=ReceiptState.APPLIED
    )


async def test_nothing_asked_leaves_the_browser_as_it_is(host: Host, site: OptionSite, playwright: Playwright) -> None:
    browser = await host.start()
    page = (await attach(playwright, host)).contexts[0].pages[0]
    await page.goto(site.page("plain"))

    assert list(receipts_of(browser.facts)) == ["browser_type", "tier", "viewport", "proxy_location"]
    assert await page.evaluate("[innerWidth, innerHeight]") == [1280, 720]
    assert await page.evaluate("navigator.userAgent") == browser.facts.user_agent


async def test_a_locale_alone_leaves_the_browsers_own_client_hints(
    host: Host, site: OptionSite, playwright: Playwright
) -> None:
    await host.start(options=BrowserOptions(locale="fr-FR"))
    client = await attach(playwright, host)
    page = client.contexts[0].pages[0]
    await page.goto(site.page("french"))

    (headers, *_) = site.requests_of(page.url)
    assert headers["accept-language"].startswith("fr-FR")
    assert "Chromium" in headers["sec-ch-ua"]
    assert "Chrome/" in headers["user-agent"]
    assert await page.evaluate("navigator.userAgentData.brands.length") >= 2


async def test_a_frame_of_another_site_is_covered(host: Host, site: OptionSite, playwright: Playwright) -> None:
    await host.start(options=BrowserOptions(user_agent=AGENT, timezone="Asia/Tokyo", headers={"X-Fleet": "1"}))
    client = await attach(playwright, host)
    page = client.contexts[0].pages[0]
    await page.goto(site.page("outer", frame=site.elsewhere("inner")))

    frame = page.frames[1]
    assert await frame.evaluate("[earlyAgent, earlyZone]") == [AGENT, "Asia/Tokyo"]
    (headers, *_) = site.requests_of(site.elsewhere("inner"))
    assert (headers["user-agent"], headers["x-fleet"]) == (AGENT, "1")


async def test_a_start_page_is_open_when_the_session_is_up(
    host: Host, site: OptionSite, playwright: Playwright
) -> None:
    browser = await host.start(options=BrowserOptions(start_url=site.page("start"), timezone="Asia/Tokyo"))

    receipt = receipts_of(browser.facts)["start_url"]
    assert (receipt.state, receipt.reported) == (ReceiptState.APPLIED, site.page("start"))
    page = (await attach(playwright, host)).contexts[0].pages[0]
    assert page.url == site.page("start")
    assert await page.evaluate("earlyZone") == "Asia/Tokyo"


async def test_a_start_page_that_cannot_be_opened_is_said_and_the_session_lives(host: Host, site: OptionSite) -> None:
    browser = await host.start(options=BrowserOptions(start_url="http://127.0.0.1:1/"))

    receipt = receipts_of(browser.facts)["start_url"]
    assert receipt.state is ReceiptState.DIFFERENT
    assert "ERR_" in receipt.message


@pytest.mark.parametrize("viewport", [Viewport(390, 844), Viewport(2560, 1440)])
async def test_viewports_that_no_window_starts_with(host: Host, viewport: Viewport) -> None:
    browser = await host.start(options=BrowserOptions(viewport=viewport))

    receipt = receipts_of(browser.facts)["viewport"]
    assert (receipt.state, receipt.reported) == (ReceiptState.APPLIED, f"{viewport.width}x{viewport.height}")


async def test_the_lean_tier_is_another_program_and_takes_the_same_options(
    host: Host, site: OptionSite, playwright: Playwright
) -> None:
    await host.warm(0)
    browser = await host.start(
        options=BrowserOptions(
            tier=BrowserTier.LEAN, viewport=Viewport(900, 500), user_agent=AGENT, timezone="Asia/Tokyo"
        )
    )
    page = (await attach(playwright, host)).contexts[0].pages[0]
    await page.goto(site.page("lean"))

    receipts = receipts_of(browser.facts)
    assert receipts["tier"] == Receipt(option="tier", requested="lean", reported="lean", state=ReceiptState.APPLIED)
    assert browser.facts.product.startswith("HeadlessChrome/")
    assert not browser.facts.warm
    assert await page.evaluate("[innerWidth, innerHeight, earlyAgent, earlyZone]") == [900, 500, AGENT, "Asia/Tokyo"]


async def test_the_lean_tier_takes_no_extensions(host: Host) -> None:
    with pytest.raises(OptionUnavailable) as caught:
        await host.start(options=BrowserOptions(tier=BrowserTier.LEAN, extensions=("ad-blocker",)))

    assert caught.value.metadata == {"option": "extensions", "value": "ad-blocker"}


async def test_what_a_browser_does_not_know_is_refused_before_one_is_spent() -> None:
    async with hosting_real_browsers() as bare:
        programs = await find_programs(bare.plots, configured={}, allow_no_sandbox=False, templates=None)
    assert {"de", "en", "fil"} <= programs[Model(BrowserKind.CHROME)].languages
    assert {"Europe/Berlin", "Asia/Calcutta"} <= programs[Model(BrowserKind.CHROME)].timezones
    async with hosting_real_browsers(programs=programs) as host:
        cases = {
            "timezone": BrowserOptions(timezone="Mars/Olympus"),
            "locale": BrowserOptions(locale="xx-YY"),
            "permissions": BrowserOptions(permissions=("everything",)),
        }
        for number, (option, options) in enumerate(cases.items()):
            with pytest.raises(InvalidOption) as caught:
                await host.start(SessionId(f"pbs_{number:026}"), options=options)
            assert list(caught.value.fields) == [f"spec.{option}"]
        assert await asyncio.to_thread(lambda: list(host.scratch.iterdir())) == []
