"""Captchas in real browsers, on pages that imitate the widgets, solved by a service on loopback."""

import base64
import contextlib
from collections.abc import AsyncIterator

import pytest

from browser_node.adapters.captcha.settings import SolverSettings
from browser_node.adapters.captcha.solver import opened_captcha_solver
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.extensions.shelf import ExtensionShelf
from tests.support.captcha_service import CaptchaService, serving_captcha_service
from tests.support.extended_browsers import ExtendedBrowser
from tests.support.real_browsers import hosting_real_browsers
from tests.support.sites import LoopbackResolver, Sites, serving_sites
from tests.support.waiting import until

_KEY = "6LcTestTestTestTestTestTestTestTestTestT"
_SCRIPT = """<script>
window.told = [];
function onSolved(answer) { told.push(answer) }
window.site = { done: (answer) => told.push("nested " + answer) };
</script>"""
_DRAW = """<script>
const canvas = document.createElement("canvas");
canvas.width = 120; canvas.height = 40;
canvas.getContext("2d").fillText("w7pk", 10, 20);
captcha.src = canvas.toDataURL();
</script>"""
_RECAPTCHA = f"""<!doctype html>{_SCRIPT}<form><div class=g-recaptcha data-sitekey={_KEY} data-callback=onSolved>
<textarea id=g-recaptcha-response name=g-recaptcha-response style="display:none"></textarea></div></form>"""
# As a script puts it up: no attributes, the key in the frame's address, the callback among the clients.
_RENDERED = f"""<!doctype html>{_SCRIPT}<form><div id=widget></div></form><script>
setTimeout(() => {{
  window.___grecaptcha_cfg = {{ clients: {{ 0: {{ a: {{ b: {{ sitekey: "{_KEY}", callback: onSolved }} }} }} }} }};
  widget.innerHTML = '<iframe src="https://www.google.com/recaptcha/api2/anchor?ar=1&k={_KEY}&size=normal"></iframe>' +
    '<textarea name=g-recaptcha-response></textarea>';
}}, 200);
</script>"""
_HCAPTCHA = f"""<!doctype html>{_SCRIPT}<div class=h-captcha data-sitekey=10000000-ffff-ffff-ffff-000000000001
 data-callback=site.done><textarea name=h-captcha-response></textarea><textarea name=g-recaptcha-response></textarea>
</div>"""
_TURNSTILE = f"""<!doctype html>{_SCRIPT}<div class=cf-turnstile data-sitekey=0x4AAAAAAADnPIDROrmt1Wwj data-callback=onSolved>
<input type=hidden name=cf-turnstile-response></div>"""
_IMAGE = f"""<!doctype html>{_SCRIPT}<form><input name=user value=""><p><img id=captcha alt="captcha"><input name=answer
 placeholder="Type the code" oninput="told.push(this.value)"></p></form>{_DRAW}"""
_QUIET = f"""<!doctype html>{_SCRIPT}<div class=g-recaptcha data-sitekey={_KEY} data-size=invisible>
<textarea name=g-recaptcha-response></textarea></div>
<div class=h-captcha data-sitekey="not a key!"><textarea name=h-captcha-response></textarea></div>
<div class=cf-turnstile data-sitekey=0x4AAAAAAADnPIDROrmt1Wwj><input name=cf-turnstile-response value="passed"></div>
<img alt="a cat" src="/cat.png"><p><img id=captcha alt="captcha"><input name=answer oninput="told.push(this.value)"></p>
{_DRAW}"""
PAGES: dict[str, str | bytes] = {
    "shop.example/recaptcha": _RECAPTCHA,
    "shop.example/rendered": _RENDERED,
    "shop.example/hcaptcha": _HCAPTCHA,
    "shop.example/turnstile": _TURNSTILE,
    "shop.example/image": _IMAGE,
    "shop.example/quiet": _QUIET,
    "forum.example/": '<!doctype html><iframe src="http://shop.example:PORT/hcaptcha"></iframe>',
}


@pytest.fixture
async def browser() -> AsyncIterator[ExtendedBrowser]:
    async with hosting_real_browsers(resolver=LoopbackResolver()) as host:
        yield await ExtendedBrowser.start(host)


@pytest.fixture
async def sites() -> AsyncIterator[Sites]:
    async with serving_sites(PAGES) as sites:
        yield sites


@pytest.fixture
async def service() -> AsyncIterator[CaptchaService]:
    async with serving_captcha_service() as service:
        yield service


@contextlib.asynccontextmanager
async def solving(browser: ExtendedBrowser, settings: SolverSettings) -> AsyncIterator[None]:
    async with opened_captcha_solver(settings) as solver:
        assert solver is not None
        loader = ExtensionLoader(ExtensionShelf({}), captcha_solver=solver)
        assert loader.names == ("captcha-solver",)
        loaded = await browser.load(loader, "captcha-solver")
        assert loaded.receipt.reported == "captcha-solver: service at 127.0.0.1"
        assert loaded.captcha_watch is not None
        yield
        await loaded.captcha_watch.close()


async def test_each_kind_is_solved_and_the_page_is_told(
    browser: ExtendedBrowser, sites: Sites, service: CaptchaService
) -> None:
    async with solving(browser, service.settings()):
        for page, told in (
            (await browser.first_page(), "recaptcha: token-recaptcha"),
            (await browser.page_in_own_context(), "rendered: token-recaptcha"),
            (await browser.first_page(), "hcaptcha: nested token-hcaptcha"),
            (await browser.first_page(), "turnstile: token-turnstile"),
            (await browser.first_page(), "image: w7pk"),
        ):
            path, _, answer = told.partition(": ")
            await page.open(sites.url(f"shop.example/{path}") + "?secret=1#also")
            await page.until(f"told.join() === {answer!r}", what=f"the page hears of its {path}")
    assert [task["type"] for task in service.tasks] == [
        "RecaptchaV2TaskProxyless",
        "RecaptchaV2TaskProxyless",
        "HCaptchaTaskProxyless",
        "TurnstileTaskProxyless",
        "ImageToTextTask",
    ]
    assert service.tasks[0]["websiteURL"] == sites.url("shop.example/recaptcha")
    assert service.tasks[1]["websiteKey"] == _KEY
    assert base64.b64decode(service.tasks[4]["body"]).startswith(b"\x89PNG")


async def test_a_captcha_in_a_frame_of_another_site_is_solved(
    browser: ExtendedBrowser, sites: Sites, service: CaptchaService
) -> None:
    async with solving(browser, service.settings()):
        page = await browser.first_page()
        await page.open(sites.url("forum.example/"))
        frame = await browser.frame(sites.url("shop.example/hcaptcha"))
        await frame.until("told.length === 1", what="the frame's page hears of its captcha")
        values = "[...document.querySelectorAll('textarea')].map((field) => field.value).join()"
        assert await frame.value(values) == "token-hcaptcha,token-hcaptcha"
    assert service.tasks[0]["websiteURL"] == sites.url("shop.example/hcaptcha")


async def test_what_waits_for_no_answer_is_not_paid_for_and_pages_see_nothing_of_the_solver(
    browser: ExtendedBrowser, sites: Sites, service: CaptchaService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="browser_node.adapters.captcha.watch")
    async with solving(browser, service.settings(tasks_per_session=1)):
        page = await browser.first_page()
        await page.open(sites.url("shop.example/quiet"))
        # The last captcha of the page is one to solve: all others were looked at before it.
        await page.until("told.length === 1", what="the captcha is solved")
        assert await page.value("[typeof fleetCaptchas, typeof fleetCaptchaFound].join()") == "undefined,undefined"
        # The session's one task is spent.
        await page.open(sites.url("shop.example/hcaptcha"))
        await until(lambda: "a captcha: session-limit" in caplog.text)
        assert await page.value("told.length") == 0
    assert [task["type"] for task in service.tasks] == ["ImageToTextTask"]
    assert "secret" not in caplog.text
