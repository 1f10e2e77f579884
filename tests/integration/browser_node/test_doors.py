"""The node's doors over real sockets, with a real browser behind them: addresses, tokens, refusals, limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from browser_node.adapters.doors.cdp_door import CdpDoor
from browser_node.adapters.doors.server import DoorServer
from browser_node.adapters.doors.visit_rate import VisitRate
from browser_node.adapters.fleet_keys import Pass, Scope
from browser_node.domain.browser import SessionId
from fleetkit.tokens import Claims
from tests.support.node_fakes import SESSION
from tests.support.pages import serving_pages
from tests.support.real_browsers import Host, RawClient, attach_token, hosting_real_browsers
from tests.support.waiting import eventually, until

DEVTOOLS = "devtools://devtools"
LARGE = 5_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Host]:
    async with hosting_real_browsers() as host:
        await host.start()
        yield host


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(host: Host, below: str, *, scope: str = "full", **headers: str) -> httpx.Response:
    token = attach_token(host.signer, scope=scope)
    async with httpx.AsyncClient() as http:
        return await http.get(
            f"http://127.0.0.1:{host.port}/attach/{SESSION}{below}",
            headers={
                "authorization": f"Bearer {token}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )


async def raw_answer(host: Host, request: str) -> tuple[int, str]:
    """Return the status and the head of what comes back for a request as it stands here; 0 when nothing does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(request.replace("\n", "\r\n").encode())
    answer = ""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            answer = (await reader.read()).decode("latin-1")
    writer.close()
    return (int(answer.split(" ")[1]) if answer else 0), answer


async def test_discovery_leads_to_the_browser_and_to_its_pages(host: Host) -> None:
    version = (await ask(host, "/json/version")).json()
    [page] = [target for target in (await ask(host, "/json/list")).json() if target["type"] == "page"]

    assert version["Browser"].startswith("Chrome/")
    async with connect(version["webSocketDebuggerUrl"]) as browser, connect(page["webSocketDebuggerUrl"]) as alone:
        targets = (await RawClient(browser).call("Target.getTargets"))["targetInfos"]
        assert page["id"] in {target["targetId"] for target in targets}
        told = await RawClient(alone).call("Runtime.evaluate", {"expression": "location.href"})
    assert told["result"]["value"] == page["url"]
    assert f"ws={host.port}" not in page["devtoolsFrontendUrl"]
    assert page["devtoolsFrontendUrl"].startswith("devtools://devtools/bundled/inspector.html?ws=127.0.0.1%3A")


async def test_a_page_that_is_closed_lets_its_client_go(host: Host) -> None:
    async with connect(host.url()) as socket:
        browser = RawClient(socket)
        target = str((await browser.call("Target.createTarget", {"url": "about:blank"}))["targetId"])

        async def address() -> str | None:
            targets = (await ask(host, "/json/list")).json()
            return next((str(known["webSocketDebuggerUrl"]) for known in targets if known["id"] == target), None)

        async with connect(await eventually(address, within=5, what="the page is listed")) as page:
            await RawClient(page).call("Page.enable")
            await browser.call("Target.closeTarget", {"targetId": target})
            await asyncio.wait_for(page.wait_closed(), 5)
    assert (page.close_code, page.close_reason) == (1000, "the page was closed")


@pytest.mark.parametrize("path", ["/json/new", "/json/new?file:///etc/passwd", "/json/close/x", "/json/activate/x"])
async def test_pages_are_not_opened_or_closed_by_http(host: Host, path: str) -> None:
    assert (await ask(host, path)).status_code == HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "below",
    [
        "/../json/version",
        "/json/../json/version",
        "/%6ason/version",
        "/%2e%2e/json/version",
        "//json/version",
        "/json/protocol",
        "/devtools/browser/00000000-0000-0000-0000-000000000000",
        "/devtools/browser/pbs_99999999999999999999999999",
        "/devtools/page/" + "0" * 32,
        "/devtools/page/x",
        "/devtools/page/",
        "/devtools/inspector.html",
    ],
)
async def test_other_paths_lead_nowhere(host: Host, below: str) -> None:
    head = f"GET /attach/{SESSION}{below}?token={attach_token(host.signer)} HTTP/1.1\nHost: a\n\n"

    status, answer = await raw_answer(host, head)

    assert status == HTTPStatus.NOT_FOUND
    assert "BROWSER_NOT_FOUND" in answer


@pytest.mark.parametrize("scope", ["view", "control"])
async def test_tokens_of_the_live_view_do_not_open_cdp(host: Host, scope: str) -> None:
    for below in ("", "/json/version", "/json/list"):
        answer = await ask(host, below, scope=scope)
        assert (answer.status_code, answer.json()["reason"]) == (403, "SCOPE_MISSING")


async def test_a_token_with_an_unknown_scope_is_no_token(host: Host) -> None:
    answer = await ask(host, "/json/version", scope="everything")
    assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: a b", 421),
        ("Host: a\nHost: b", 421),
        ("X: y", 421),
        ("Host: a\nOrigin: https://evil.example", 403),
        ("Host: a\nOrigin: null", 403),
        ("Host: a", 426),
        ("Host: a\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 12", 400),
        ("Host: a\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: x", 400),
        ("Host: a\nAuthorization: Bearer x", 401),
        ("Host: a\nContent-Length: 5", 400),
        ("Host: a\nTransfer-Encoding: chunked", 400),
        ("Host: a\nnonsense", 400),
        # The reader gives up on a head this long, and says nothing.
        ("Host: a\nX: " + "y" * 70_000, 0),
    ],
)
async def test_what_is_no_good_request_is_refused(host: Host, head: str, status: int) -> None:
    assert (await raw_answer(host, f"GET {host.url().partition(str(host.port))[2]} HTTP/1.1\n{head}\n\n"))[0] == status


@pytest.mark.parametrize("line", ["GET {} HTTP/1.0", "POST {} HTTP/1.1", "PUT {} HTTP/1.1", "GET {}", "nonsense"])
async def test_other_methods_and_versions_are_refused(host: Host, line: str) -> None:
    path = host.url().partition(str(host.port))[2]
    assert (await raw_answer(host, f"{line.format(path)}\nHost: a\n\n"))[0] == HTTPStatus.BAD_REQUEST


async def test_devtools_and_the_nodes_own_pages_may_attach(host: Host) -> None:
    for origin in (DEVTOOLS, f"http://127.0.0.1:{host.port}"):
        async with connect(host.url(), additional_headers={"origin": origin}) as socket:
            await RawClient(socket).call("Browser.getVersion")
    with pytest.raises(InvalidStatus) as caught:
        await connect(host.url(), additional_headers={"origin": "https://evil.example"})
    assert caught.value.response.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"binary", 1003),
        ("{", 1007),
        ('{"method":"Browser.getVersion"}', 1007),
        ('{"id":18446744073709551616,"method":"Browser.getVersion"}', 1007),
        ('{"id":1,"method":"x","params":' + "[" * 10_000 + "]" * 10_000 + "}", 1007),
    ],
)
async def test_what_is_no_command_is_answered_with_a_close_code(host: Host, message: str | bytes, code: int) -> None:
    async with connect(host.url()) as socket:
        await socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code


async def test_a_frame_that_says_it_is_too_big_is_refused_before_it_comes(host: Host) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    path = host.url().partition(str(host.port))[2]
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x81\xff" + (1 << 30).to_bytes(8, "big") + b"\0\0\0\0")

    frame = await asyncio.wait_for(reader.read(4), 10)

    assert frame[0] == 0x88
    assert int.from_bytes(frame[2:4], "big") == 1009
    writer.close()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("Browser.crash", {}),
        ("SystemInfo.getInfo", {}),
        ("Extensions.loadUnpacked", {"path": "/tmp"}),
        ("Target.exposeDevToolsProtocol", {"targetId": "x"}),
        ("Target.createBrowserContext", {"proxyServer": "http://127.0.0.1:1"}),
        ("Target.createTarget", {"url": "file:///etc/passwd"}),
        ("Target.createTarget", {"url": "chrome://inducebrowsercrashforrealz"}),
        ("IO.read", {"handle": "1"}),
    ],
)
async def test_what_clients_may_not_is_a_cdp_error(host: Host, method: str, params: dict[str, object]) -> None:
    async with connect(host.url()) as socket:
        client = RawClient(socket)

        answer = await client.answer(await client.send(method, params))

        assert answer["error"]["code"] in {-32000, -32602}
        assert await client.call("Browser.getVersion")


async def test_no_way_leads_to_a_file(host: Host) -> None:
    """Interception that sends a request elsewhere is the one way that the browser has to stop itself."""
    async with serving_pages() as site, connect(host.url()) as socket:
        client = RawClient(socket)
        page = await client.open_page()
        for url in ("file:///etc/hostname", "view-source:file:///etc/hostname", "\tFILE:///etc/hostname"):
            assert "error" in await client.answer(await client.send("Page.navigate", {"url": url}, page))
        await client.call("Page.navigate", {"url": site}, page)
        script = "window.open('file:///etc/hostname'); location = 'file:///etc/hostname'; 1"
        await client.call("Runtime.evaluate", {"expression": script}, page)
        told = await client.call("Runtime.evaluate", {"expression": "location.protocol"}, page)
    assert told["result"]["value"] == "http:"


async def test_an_observer_reads_the_page_and_cannot_touch_it(host: Host) -> None:
    url = host.url(attach_token(host.signer, scope="observe"))
    async with serving_pages() as site, connect(host.url()) as socket, connect(url) as looking:
        client, observer = RawClient(socket), RawClient(looking)
        page = await client.open_page()
        await client.call("Page.navigate", {"url": site}, page)
        seen = await observer.open_page()
        for method in ("DOM.enable", "Page.enable", "Network.enable", "Runtime.enable", "Accessibility.enable"):
            await observer.call(method, session=seen)

        async def shown() -> bool:
            root = (await observer.call("DOM.getDocument", {"depth": -1}, seen))["root"]["nodeId"]
            return "Hello" in (await observer.call("DOM.getOuterHTML", {"nodeId": root}, seen))["outerHTML"]

        await eventually(shown, within=5, what="the observer sees the page")
        assert (await observer.call("Page.captureScreenshot", session=seen))["data"]
        for method in ("Runtime.evaluate", "Page.navigate", "Input.insertText", "Page.close", "Storage.getCookies"):
            refused = await observer.answer(await observer.send(method, {"expression": "1"}, seen))
            assert "observing" in refused["error"]["message"]
        told = await client.call("Runtime.evaluate", {"expression": "document.title"}, page)
    assert told["result"]["value"] == "A page"


async def test_large_messages_pass_both_ways_unchanged(host: Host) -> None:
    async with connect(host.url(), max_size=None) as socket:
        client = RawClient(socket)
        page = await client.open_page()
        down = await client.call("Runtime.evaluate", {"expression": f"'é'.repeat({LARGE})"}, page)
        up = await client.call("Runtime.evaluate", {"expression": f"{'x' * LARGE!r}.length"}, page)
    assert down["result"]["value"] == "é" * LARGE
    assert up["result"]["value"] == LARGE


class OpenGate:
    """Lets everybody in."""

    def __init__(self, host: Host) -> None:
        self._browser = host.browsers.find(SESSION, 1)

    def admit(self, session_id: SessionId, token: str) -> Pass:
        claims = Claims(audience="attach", subject=session_id, expire_time=datetime.now(UTC))
        return Pass(browser=self._browser, scope=Scope.FULL, claims=claims)


async def test_silent_clients_are_pinged_and_those_that_are_gone_are_cut(host: Host) -> None:
    server = DoorServer(gate=OpenGate(host), doors={"attach": CdpDoor()}, ping_interval=timedelta(seconds=0.5))
    async with server.listening("127.0.0.1:0") as listening:
        url = f"ws://127.0.0.1:{listening.port}/attach/{SESSION}?token=any"
        async with connect(url) as answers, connect(url) as silent:
            silent.transport.pause_reading()
            browser = host.browsers.find(SESSION, 1)
            await until(lambda: browser.client_count == 2)

            await until(lambda: browser.client_count == 1)

            await RawClient(answers).call("Browser.getVersion")
            silent.transport.abort()


async def test_a_client_that_comes_again_and_again_is_told_to_wait(host: Host) -> None:
    rate = VisitRate(monotonic=lambda: 0.0)
    server = DoorServer(gate=OpenGate(host), doors={"attach": CdpDoor()}, rate=rate)
    async with server.listening("127.0.0.1:0") as listening, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{listening.port}/attach/{SESSION}/json/version?token=any"
        answers = [await http.get(url) for _ in range(201)]

    assert {answer.status_code for answer in answers[:200]} == {200}
    assert answers[200].status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert answers[200].headers["retry-after"] == "1"
