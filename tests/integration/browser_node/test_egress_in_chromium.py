"""Real browsers behind the forwarder: every way out that they have leads through it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from browser_node.adapters.egress.flags import egress_flags
from browser_node.domain.proxies import Route, UpstreamKind
from tests.support.egress import PlayedNames, a_forwarder, a_policy, route_by, tls_contexts
from tests.support.egress_browser import Page, Plot, a_browser, a_plot, lean_program
from tests.support.egress_web import serving_web
from tests.support.pages import FILE
from tests.support.real_browsers import chrome_program
from tests.support.upstream_proxies import upstream_proxy
from tests.support.waiting import eventually, until

# Asks the servers for this browser's address in every way there is, and waits until it has been answered or not.
_GATHER = """(async () => {
  const peer = new RTCPeerConnection({iceServers: [
    {urls: 'stun:127.0.0.1:PORT'},
    {urls: ['turn:127.0.0.1:PORT?transport=udp', 'turn:127.0.0.1:PORT?transport=tcp'], username: 'a', credential: 'b'},
  ]});
  peer.createDataChannel('x');
  const found = [];
  const done = new Promise(resolve => {
    peer.onicecandidate = event => event.candidate ? found.push(event.candidate.candidate) : resolve();
  });
  await peer.setLocalDescription(await peer.createOffer());
  await Promise.race([done, new Promise(resolve => setTimeout(resolve, 3000))]);
  return found.length;
})()"""
_NAMES = """(async () => {
  for (const kind of ['dns-prefetch', 'preconnect', 'prefetch']) {
    const link = document.createElement('link');
    link.rel = kind;
    link.href = 'http://' + kind + '.example:PORT/';
    document.head.append(link);
  }
  const image = new Image();
  const ended = new Promise(resolve => image.onload = image.onerror = resolve);
  image.src = 'http://image.example:PORT/x.png';
  await ended;
})()"""
_WEBSOCKET = """new Promise((resolve, reject) => {
  const socket = new WebSocket('ws://127.0.0.1:PORT/');
  socket.onopen = () => socket.send('hello');
  socket.onmessage = event => resolve(event.data);
  socket.onerror = () => reject(new Error('no socket'));
})"""
_FETCH = "fetch('URL', {cache: 'no-store'}).then(answer => answer.status)"
# Entries of Chrome's own network log that say that it looked names up or used UDP by itself.
_BY_ITSELF = (
    "DNS_TRANSACTION",
    "HOST_RESOLVER_SYSTEM_TASK",
    "HOST_RESOLVER_DNS_TASK",
    "UDP_BYTES_SENT",
    "QUIC_SESSION",
)


@dataclass
class Listener(asyncio.DatagramProtocol):
    """A server that WebRTC is pointed at, on UDP and on TCP; it must hear nothing."""

    port: int = 0
    packets: list[bytes] = field(default_factory=list)
    connections: int = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.packets.append(data)


@contextlib.asynccontextmanager
async def a_listener() -> AsyncIterator[Listener]:
    listener = Listener()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: listener, local_addr=("127.0.0.1", listener.port))
    async with server:
        yield listener
    transport.close()


@pytest.fixture
async def plot() -> AsyncIterator[Plot]:
    with contextlib.ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, a_plot())


@pytest.fixture
def names() -> PlayedNames:
    return PlayedNames()


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@pytest.mark.parametrize("lean", [False, True], ids=["full", "lean"])
async def test_webrtc_quic_and_name_lookups_do_not_go_around_the_forwarder(
    plot: Plot, names: PlayedNames, lean: bool
) -> None:
    program = lean_program() if lean else await asyncio.to_thread(chrome_program)
    log = plot.folder / "net.json"
    async with serving_web() as web, a_listener() as listener:
        names.answers["image.example"] = [["127.0.0.1"]]
        policy = a_policy(own_ports=[listener.port])
        async with a_forwarder(names=names, policy=policy) as forwarder, forwarder.port(owner=plot.user) as port:
            await port.use(Route())
            flags = [*egress_flags(port.number), f"--log-net-log={log}"]
            async with a_browser(plot, flags, program) as page:
                assert await page.open(web.url) == "Hello"
                found = await page.run(_GATHER.replace("PORT", str(listener.port)))
                await page.run(_NAMES.replace("PORT", str(web.port)))
                peer_was_asked = [head for head in web.heads if "image.example" in head]

    assert found == 0
    assert listener.packets == []
    assert listener.connections == 0
    assert peer_was_asked
    assert "image.example" in names.asked
    assert await asyncio.to_thread(_entries, log) == []


async def test_without_the_flags_webrtc_would_go_around(plot: Plot) -> None:
    async with serving_web() as web, a_listener() as listener, a_browser(plot, []) as page:
        assert await page.open(web.url) == "Hello"
        assert await page.run(_GATHER.replace("PORT", str(listener.port))) > 0

        # The listener of the other test does hear what is sent.
        assert listener.packets


async def test_pages_sockets_and_downloads_come_by_every_kind_of_route(
    plot: Plot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tls = await tls_contexts(tmp_path_factory.mktemp("certificates"))
    async with contextlib.AsyncExitStack() as stack:
        web = await stack.enter_async_context(serving_web())
        secure = await stack.enter_async_context(serving_web(tls=tls[0]))
        echo = await stack.enter_async_context(echoing())
        proxies = [await stack.enter_async_context(upstream_proxy(kind, tls=tls[0])) for kind in UpstreamKind]
        forwarder = await stack.enter_async_context(a_forwarder(tls=tls[1]))
        port = await stack.enter_async_context(forwarder.port(owner=plot.user))
        flags = [*egress_flags(port.number), "--ignore-certificate-errors"]
        page = await stack.enter_async_context(a_browser(plot, flags))

        assert "no way out yet" in await page.open(web.url)
        assert web.connections == 0
        for number, route in enumerate([Route(), *map(route_by, proxies)]):
            await port.use(route)
            before = port.bytes_sent, port.bytes_received
            assert await page.open(f"https://127.0.0.1:{secure.port}/?{number}") == "Hello"
            assert await page.open(f"{web.url}/?{number}") == "Hello"
            assert await page.run(_WEBSOCKET.replace("PORT", str(echo))) == "hello"
            await _download(page, f"{web.url}/file?{number}")
            assert port.bytes_sent > before[0]
            assert port.bytes_received > before[1] + len(FILE)
        assert all(len(proxy.asked) > 3 for proxy in proxies)

        proxies[-1].stop()
        assert "refused" in await page.open(f"{web.url}/?dead")


async def test_pages_cannot_reach_what_is_forbidden_by_names_that_change_or_by_redirects(
    plot: Plot, names: PlayedNames
) -> None:
    names.answers["rebind.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    async with serving_web() as web, serving_web("127.0.0.2", web.port) as inside, serving_web() as own:
        policy = a_policy(own_ports=[own.port])
        async with a_forwarder(names=names, policy=policy) as forwarder, forwarder.port(owner=plot.user) as port:
            await port.use(Route())
            async with a_browser(plot, egress_flags(port.number)) as page:
                url = f"http://rebind.example:{web.port}"
                assert await page.open(url) == "Hello"
                # Connections that the browser keeps are ended, as an attacker's server would do.
                await port.use(Route())
                assert await page.run(_FETCH.replace("URL", url)) == 403
                for target in (
                    "http://169.254.169.254/latest/",
                    "http://0x7f.2/",
                    f"http://127.0.0.2:{web.port}/",
                    f"http://127.0.0.1:{own.port}/",
                    f"http://127.0.0.1:{port.number}/",
                    "http://[::ffff:10.0.0.1]/",
                ):
                    text = await page.open(f"{web.url}/redirect?{target}")
                    assert "address." in text or "belongs to the fleet" in text
                assert "ERR_UNSAFE_PORT" in await page.open("http://127.0.0.1:22/")
                assert "did not take the credentials" in await page.open(f"{web.url}/407")

        assert inside.connections == 0
        assert own.connections == 0


async def test_when_the_browser_ends_nothing_is_left_of_it(plot: Plot) -> None:
    async with serving_web() as web, echoing() as echo, a_forwarder() as forwarder:
        async with forwarder.port(owner=plot.user) as port:
            await port.use(Route())
            async with a_browser(plot, egress_flags(port.number)) as page:
                assert await page.open(web.url) == "Hello"
                assert await page.run(_WEBSOCKET.replace("PORT", str(echo))) == "hello"
                assert port.connection_count > 0
            await until(lambda: port.connection_count == 0)
        await until(lambda: web.open_connections == 0)


async def _download(page: Page, url: str) -> None:
    folder = page.folder / "downloads"
    await page.client.call(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder), "eventsEnabled": False}
    )
    await page.client.call("Page.navigate", {"url": url}, page.session)

    def arrived() -> bool:
        files = list(folder.glob("*.csv")) if folder.exists() else []
        whole = [file for file in files if file.read_bytes() == FILE]
        for file in whole:
            file.unlink()
        return bool(whole)

    await eventually(lambda: asyncio.to_thread(arrived), within=20, what="the download is complete")


def _entries(log: Path) -> list[str]:
    """What Chrome's network log has of lookups and packets of its own."""
    content = json.loads(log.read_text())
    kinds = {number: name for name, number in content["constants"]["logEventTypes"].items()}
    assert "HTTP_TRANSACTION_READ_HEADERS" in {kinds[event["type"]] for event in content["events"]}
    assert set(_BY_ITSELF) & set(kinds.values()), "Chrome names its log entries differently now"
    return sorted({kinds[event["type"]] for event in content["events"]} & set(_BY_ITSELF))
