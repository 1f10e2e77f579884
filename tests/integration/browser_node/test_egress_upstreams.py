"""The forwarder behind real proxies: credentials, failover, and what is said when they do not serve."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from browser_node.adapters.egress.port import EgressPort
from browser_node.domain.errors import ProxyUnreachable
from browser_node.domain.options import BrowserOptions, ReceiptState
from browser_node.domain.proxies import ProxyLocations, Resolution, Route, Upstream, UpstreamKind
from tests.support.egress import PlayedNames, a_forwarder, a_policy, custom_proxy, route_by, tls_contexts, upstream_of
from tests.support.egress_web import PAGE, Web, serving_web
from tests.support.upstream_proxies import PASSWORD, USERNAME, upstream_proxy
from tests.support.waiting import until


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving_web() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
async def tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return await tls_contexts(folder)


def a_client(port: EgressPort) -> httpx.AsyncClient:
    return httpx.AsyncClient(proxy=f"http://127.0.0.1:{port.number}", trust_env=False, timeout=20)


async def through_tunnel(port: EgressPort, authority: str) -> bytes:
    """CONNECT, then one request; returns everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    try:
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return head + await reader.read()
        writer.write(b"GET /until-close HTTP/1.1\r\nhost: x\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("kind", UpstreamKind)
async def test_pages_come_by_every_kind_of_upstream(
    web: Web, tls: tuple[ssl.SSLContext, ssl.SSLContext], kind: UpstreamKind
) -> None:
    async with (
        upstream_proxy(kind, tls=tls[0]) as proxy,
        a_forwarder(tls=tls[1]) as forwarder,
        forwarder.port(owner=None) as port,
    ):
        options = BrowserOptions(proxy=custom_proxy(proxy))
        await port.use(forwarder.route_for(options))
        async with a_client(port) as client:
            assert (await client.get(web.url)).content == PAGE
            assert (await client.post(web.url + "/echo", content=b"x" * 100_000)).content == b"x" * 100_000
        assert (await through_tunnel(port, f"127.0.0.1:{web.port}")).endswith(b"all of it")

        assert len(proxy.asked) >= 3
        assert not any("proxy-" in head.lower() for head in web.heads)
        receipt = port.receipt(options)
        assert (receipt.option, receipt.reported, receipt.state) == ("proxy", f"{kind} proxy", ReceiptState.APPLIED)
        # What is refused directly is refused behind a proxy too.
        for target in ("169.254.169.254:80", "127.0.0.2:80", f"127.0.0.1:{port.number}"):
            assert b" 403 " in await through_tunnel(port, target)
        assert not any("169.254" in asked for asked in proxy.asked)
        await until(lambda: port.connection_count == 0)


@pytest.mark.parametrize("kind", UpstreamKind)
async def test_names_are_left_to_an_upstream_that_may_resolve_them(
    web: Web, tls: tuple[ssl.SSLContext, ssl.SSLContext], kind: UpstreamKind
) -> None:
    names = PlayedNames()
    async with (
        upstream_proxy(kind, tls=tls[0]) as proxy,
        a_forwarder(tls=tls[1], names=names) as forwarder,
        forwarder.port(owner=None) as port,
    ):
        upstream = Upstream.parse(proxy.url, username=USERNAME, password=PASSWORD, resolution=Resolution.UPSTREAM)
        await port.use(Route(location="US", upstreams=(upstream,)))
        async with a_client(port) as client:
            assert (await client.get(f"http://far.example:{web.port}/")).content == PAGE
            assert (await client.get(f"http://metadata.google.internal:{web.port}/")).status_code == 403
        assert (await through_tunnel(port, f"far.example:{web.port}")).endswith(b"all of it")

        assert names.asked == []
        assert all("far.example" in asked for asked in proxy.asked if "invalid" not in asked)


@pytest.mark.parametrize("kind", [UpstreamKind.HTTP, UpstreamKind.SOCKS5])
async def test_an_upstream_inside_the_network_gets_the_address_that_was_judged(web: Web, kind: UpstreamKind) -> None:
    names = PlayedNames({"rebind.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with (
        upstream_proxy(kind) as proxy,
        a_forwarder(names=names) as forwarder,
        forwarder.port(owner=None) as port,
        a_client(port) as client,
    ):
        await port.use(route_by(proxy))
        assert (await client.get(f"http://rebind.example:{web.port}/")).content == PAGE
        assert b" 403 " in await through_tunnel(port, f"rebind.example:{web.port}")

        assert [asked for asked in proxy.asked if "invalid" not in asked] == [f"127.0.0.1:{web.port}"]


@pytest.mark.parametrize(("kind", "words"), [(UpstreamKind.HTTP, "credentials"), (UpstreamKind.SOCKS5, "credentials")])
async def test_wrong_credentials_are_told_when_the_proxy_is_chosen(kind: UpstreamKind, words: str) -> None:
    async with (
        upstream_proxy(kind) as proxy,
        a_forwarder() as forwarder,
        forwarder.port(owner=None) as port,
        a_client(port) as client,
    ):
        route = forwarder.route_for(BrowserOptions(proxy=custom_proxy(proxy, password="canary-wrong")))
        with pytest.raises(ProxyUnreachable, match=words) as caught:
            await port.use(route)

        assert caught.value.reason == "PROXY_UNREACHABLE"
        assert "canary" not in str(caught.value)
        assert (await client.get("http://127.0.0.1:1/")).status_code == 403


async def test_a_proxy_that_does_not_answer_is_told_of_in_time() -> None:
    async with upstream_proxy(UpstreamKind.HTTP, hangs=True) as proxy, a_forwarder() as forwarder:

        async def choose(kind: UpstreamKind) -> None:
            upstream = Upstream.parse(f"{kind}://127.0.0.1:{proxy.port}", username="u", password="p")
            async with forwarder.port(owner=None) as port:
                with pytest.raises(ProxyUnreachable, match="in time"):
                    await port.use(Route(upstreams=(upstream,), custom=True))

        # Far above the three seconds that a check takes, far below what a connection may take otherwise.
        async with asyncio.timeout(9):
            await asyncio.gather(*map(choose, UpstreamKind))


async def test_a_proxy_says_how_far_it_came(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n")
        writer.close()

    async with upstream_proxy(UpstreamKind.HTTP) as gone:
        pass
    async with upstream_proxy(UpstreamKind.HTTPS, tls=tls[0]) as untrusted:
        server = await asyncio.start_server(chatter, "127.0.0.1", 0)
        async with server:
            await _check_words(gone.port, untrusted.port, server.sockets[0].getsockname()[1])


async def _check_words(gone: int, untrusted: int, mail: int) -> None:
    names = PlayedNames({"inside.example": [["127.0.0.2"]], "metadata.example": [["169.254.169.254"]]})
    cases = {
        f"http://127.0.0.1:{gone}": "refused the connection",
        f"https://127.0.0.1:{gone}": "refused the connection",
        f"socks5://127.0.0.1:{gone}": "refused the connection",
        f"https://127.0.0.1:{untrusted}": "TLS handshake",
        f"https://127.0.0.1:{mail}": "TLS handshake|was not reached",
        f"http://127.0.0.1:{mail}": "does not speak HTTP",
        f"socks5://127.0.0.1:{mail}": "no SOCKS5 proxy",
        "http://nowhere.example:3128": "not found",
        "http://inside.example:3128": "not allowed: This name leads to a loopback",
        "socks5://metadata.example:1080": "not allowed: This name leads to a link-local",
        "http://169.254.169.254:80": "not allowed: This is a link-local",
        "http://127.0.0.1:22": "not allowed: Port 22",
        "http://10.0.0.1:3128": "not allowed: This is a private",
        "socks5://2130706434:1080": "not allowed: This is a loopback",
    }
    async with a_forwarder(names=names) as forwarder, forwarder.port(owner=None) as port:
        for url, words in cases.items():
            route = Route(upstreams=(Upstream.parse(url),), custom=True)
            with pytest.raises(ProxyUnreachable, match=words):
                await port.use(route)
        own = Route(upstreams=(Upstream.parse(f"http://127.0.0.1:{port.number}"),), custom=True)
        with pytest.raises(ProxyUnreachable, match="belongs to the fleet"):
            await port.use(own)


async def test_a_page_is_never_asked_for_the_proxys_credentials(web: Web) -> None:
    async with (
        upstream_proxy(UpstreamKind.HTTP) as proxy,
        a_forwarder() as forwarder,
        forwarder.port(owner=None) as port,
        a_client(port) as client,
    ):
        await port.use(route_by(proxy))
        proxy.password = "changed meanwhile"
        answer = await client.get(web.url)
        tunnel = await through_tunnel(port, f"127.0.0.1:{web.port}")

    assert answer.status_code == 502
    assert "proxy-authenticate" not in answer.headers
    assert tunnel.startswith(b"HTTP/1.1 502")
    assert b"407" in tunnel
    assert web.connections == 0


async def test_a_session_moves_on_when_its_upstream_dies_and_stays_there(web: Web) -> None:
    async with (
        upstream_proxy(UpstreamKind.HTTP) as one,
        upstream_proxy(UpstreamKind.SOCKS5) as other,
        a_forwarder() as forwarder,
        forwarder.port(owner=None) as port,
    ):
        await port.use(route_by(one, other))
        for _ in range(3):
            await through_tunnel(port, f"127.0.0.1:{web.port}")
        pages = [[asked for asked in proxy.asked if "invalid" not in asked] for proxy in (one, other)]
        assert sorted(map(len, pages)) == [0, 3]
        first, second = (one, other) if pages[0] else (other, one)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(f"CONNECT 127.0.0.1:{web.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")

        first.stop()

        # What was open over it ends, what is new goes by the other one, also when the first is back.
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        assert (await through_tunnel(port, f"127.0.0.1:{web.port}")).endswith(b"all of it")
        await first.start(None)
        first.asked.clear()
        assert (await through_tunnel(port, f"127.0.0.1:{web.port}")).endswith(b"all of it")
        assert first.asked == []
        assert port.receipt(BrowserOptions(proxy_location="US")).reported == f"US by {second.kind} proxy"
        first.stop()
        second.stop()
        assert b" 502 " in await through_tunnel(port, f"127.0.0.1:{web.port}")


async def test_upstreams_are_checked_beside_the_sessions(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with upstream_proxy(UpstreamKind.HTTP) as good, upstream_proxy(UpstreamKind.SOCKS5) as bad:
        bad.password = "another"
        upstreams = (upstream_of(bad), upstream_of(good))
        async with (
            a_forwarder(locations=ProxyLocations(upstreams={"US": upstreams}, default="US")) as forwarder,
            forwarder.port(owner=None) as port,
        ):
            await until(lambda: forwarder.health.is_bad(upstreams[0]) and forwarder.health.is_known(upstreams[1]))
            await port.use(forwarder.route_for(BrowserOptions()))
            await through_tunnel(port, f"127.0.0.1:{web.port}")

            assert len(good.asked) == 2
            receipt = port.receipt(BrowserOptions())
            assert (receipt.reported, receipt.state) == ("US by http proxy", ReceiptState.APPLIED)
            bad.password = PASSWORD
            await forwarder.health.check_all()
            assert forwarder.health.is_known(upstreams[0])

    assert "proxy US[0] cannot be used: The proxy did not take the credentials." in caplog.messages
    assert "proxy US[0] can be used again" in caplog.messages
    assert not any(secret in caplog.text for secret in (PASSWORD, f":{good.port}", f":{bad.port}"))


async def test_a_location_without_a_living_upstream_is_refused() -> None:
    async with upstream_proxy(UpstreamKind.HTTP) as one, upstream_proxy(UpstreamKind.SOCKS5) as other:
        pass
    async with a_forwarder() as forwarder, forwarder.port(owner=None) as port:
        with pytest.raises(ProxyUnreachable, match="refused the connection"):
            await port.use(route_by(one, other))


async def test_the_operators_own_proxies_may_be_where_pages_may_not_go(web: Web) -> None:
    async with (
        upstream_proxy(UpstreamKind.HTTP) as proxy,
        a_forwarder(policy=a_policy(allow=f"127.0.0.1:{web.port}")) as forwarder,
        forwarder.port(owner=None) as port,
    ):
        await port.use(route_by(proxy))
        assert (await through_tunnel(port, f"127.0.0.1:{web.port}")).endswith(b"all of it")
        with pytest.raises(ProxyUnreachable, match="not allowed"):
            await port.use(route_by(proxy, custom=True))
