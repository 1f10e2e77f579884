"""The forwarder on real sockets, with clients that are no browsers: HTTP and CONNECT, limits, leaks."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from browser_node.adapters.egress.limits import PortLimits
from browser_node.adapters.egress.port import EgressPort
from browser_node.domain.proxies import Route
from tests.support.egress import PlayedNames, a_forwarder, a_policy
from tests.support.egress_web import BIG_BYTES, PAGE, Web, serving_web
from tests.support.waiting import eventually, until


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving_web() as running:
        yield running


@contextlib.asynccontextmanager
async def an_open_port(
    names: PlayedNames | None = None, limits: PortLimits | None = None, **policy: str
) -> AsyncIterator[EgressPort]:
    rules = a_policy(**policy)  # type: ignore[arg-type]  # only the texts are given here
    async with a_forwarder(names=names, limits=limits, policy=rules) as forwarder, forwarder.port(owner=None) as port:
        await port.use(Route())
        yield port


def a_client(port: EgressPort) -> httpx.AsyncClient:
    return httpx.AsyncClient(proxy=f"http://127.0.0.1:{port.number}", trust_env=False, timeout=20)


async def talk(port: EgressPort, text: bytes) -> bytes:
    """Send bytes and return everything that comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    try:
        writer.write(text)
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def test_before_a_route_was_chosen_everything_is_refused(web: Web) -> None:
    async with a_forwarder() as forwarder, forwarder.port(owner=None) as port, a_client(port) as client:
        answer = await client.get(web.url)

        assert answer.status_code == 403
        assert (await talk(port, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % web.port)).startswith(b"HTTP/1.1 4")
    assert web.connections == 0


async def test_requests_of_one_connection_share_one_to_the_server(web: Web) -> None:
    async with an_open_port() as port, a_client(port) as client:
        for path in ("/", "/chunked", "/echo", "/"):
            assert (await client.get(web.url + path)).status_code == 200
        assert (await client.head(web.url)).headers["content-length"] == str(len(PAGE))
        assert (await client.get(web.url + "/hints")).status_code == 204

    assert web.connections == 1


async def test_a_connection_that_goes_to_another_server_opens_another(web: Web) -> None:
    async with serving_web() as other, an_open_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        for url in (web.url, other.url, web.url):
            writer.write(f"GET {url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readuntil(b"</h1>")
        writer.close()

    assert (web.connections, other.connections) == (2, 1)


async def test_bodies_arrive_whole_however_they_are_framed(web: Web) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d," % number

    async with an_open_port() as port, a_client(port) as client:
        assert (await client.get(web.url + "/chunked")).content == b"abcde"
        assert (await client.get(web.url + "/until-close")).content == b"all of it"
        assert len((await client.get(web.url + "/big")).content) == BIG_BYTES
        echoed = await client.post(web.url + "/echo", content=b"x" * 1_000_000)
        assert len(echoed.content) == 1_000_000
        assert (await client.post(web.url + "/echo", content=pieces())).content.endswith(b"98,99,")
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(web.url + "/cut")
        for path in ("/nothing", "/garbage"):
            assert (await client.get(web.url + path)).status_code == 502
        assert (await client.post(web.url + "/early", content=b"x")).status_code == 413


async def test_the_server_sees_a_plain_request(web: Web) -> None:
    head = (
        f"GET http://user@127.0.0.1:{web.port}/a?b=c#d HTTP/1.1\r\nHost: other.example\r\nX-Kept: 1\r\n"
        "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nConnection: X-Named\r\nX-Named: 2\r\n"
        "Upgrade: h2c\r\nTE: trailers\r\n\r\n"
    )
    async with an_open_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(head.encode())
        await reader.readuntil(b"</h1>")
        writer.close()

    assert web.heads == [f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nX-Kept: 1\r\n\r\n"]


async def test_a_second_request_in_the_same_packet_is_judged_by_itself(web: Web) -> None:
    async with an_open_port() as port:
        first = f"GET {web.url}/ HTTP/1.1\r\nHost: x\r\n\r\n"
        second = "GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await talk(port, (first + second).encode())

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 403 Forbidden" in answer
    assert web.paths() == ["/"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET https://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET ftp://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http:///etc HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http://127.0.0.1\\@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http://1.2.3.4:22/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http://nowhere.example/ HTTP/1.1\r\nHost: x\r\n\r\n", 502),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http://0x7f.0.0.2/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"CONNECT [::ffff:7f00:2]:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
        (b"GET http://x/" + b"a" * 300_000, 431),
    ],
)
async def test_what_may_not_or_cannot_be_served_is_refused(text: bytes, status: int) -> None:
    async with an_open_port() as port:
        answer = await talk(port, text)

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-type: text/plain" in answer.lower()
        await until(lambda: port.connection_count == 0)


async def test_a_refused_connection_is_a_bad_gateway() -> None:
    async with serving_web() as gone:
        pass
    async with an_open_port() as port, a_client(port) as client:
        answer = await client.get(gone.url)

    assert (answer.status_code, answer.text) == (502, "The server refused the connection.\n")


async def test_a_server_that_asks_for_proxy_credentials_does_not_get_them(web: Web) -> None:
    async with an_open_port() as port, a_client(port) as client:
        answer = await client.get(web.url + "/407")

    assert answer.status_code == 502
    assert "proxy-authenticate" not in answer.headers


async def test_tunnels_carry_both_directions_and_end_one_after_the_other() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Answers only when the client has ended its side.
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server, an_open_port() as port:
        number = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        # The first bytes come together with CONNECT.
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\nearly " % number)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"late")
        writer.write_eof()

        assert await reader.read() == b"EARLY LATE"
        assert (port.bytes_sent, port.bytes_received) == (10, 10)
        writer.close()
        await until(lambda: port.connection_count == 0)


async def test_websockets_pass_by_connect_and_by_upgrade() -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server, an_open_port() as port:
        number = next(iter(server.sockets)).getsockname()[1]
        proxy = f"http://127.0.0.1:{port.number}"
        async with connect(f"ws://127.0.0.1:{number}/", proxy=proxy) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(
            b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" % number
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(b"\x81\x82\0\0\0\0hi")
        assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()


async def test_an_answer_that_changes_is_not_asked_for_again() -> None:
    names = PlayedNames({"rebind.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with serving_web() as web, serving_web("127.0.0.2", web.port) as inside, an_open_port(names) as port:
        url = f"http://rebind.example:{web.port}/"
        async with a_client(port) as client:
            assert (await client.get(url)).status_code == 200
            # The kept connection goes on to the address that was judged.
            assert (await client.get(url)).status_code == 200
            assert names.asked == ["rebind.example"]
        async with a_client(port) as client:
            assert (await client.get(url)).status_code == 403
        tunnel = await talk(port, b"CONNECT rebind.example:%d HTTP/1.1\r\nHost: x\r\n\r\n" % web.port)
        assert tunnel.startswith(b"HTTP/1.1 403")

    assert inside.connections == 0


async def test_of_mixed_answers_only_the_judged_one_is_dialled(web: Web) -> None:
    names = PlayedNames({"mixed.example": [["127.0.0.2", "127.0.0.1"]]})
    async with serving_web("127.0.0.2", web.port) as inside, an_open_port(names) as port, a_client(port) as client:
        assert (await client.get(f"http://mixed.example:{web.port}/")).status_code == 200

    assert inside.connections == 0


async def test_no_port_of_the_forwarder_can_be_reached_through_it() -> None:
    async with a_forwarder() as forwarder, forwarder.port(owner=None) as one, forwarder.port(owner=None) as other:
        await one.use(Route())
        await other.use(Route())
        for target in (one, other):
            answer = await talk(one, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % target.number)
            assert b"belongs to the fleet" in answer
        assert other.connection_count == 0


async def test_processes_of_another_user_are_not_served(web: Web) -> None:
    async with a_forwarder() as forwarder, forwarder.port(owner=os.geteuid() + 1) as port:
        await port.use(Route())

        assert await talk(port, f"GET {web.url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()) in (b"", b"reset")
    assert web.connections == 0


async def test_clients_that_dawdle_are_cut_off(web: Web) -> None:
    limits = PortLimits(header_timeout=timedelta(milliseconds=300), idle_timeout=timedelta(milliseconds=300))
    async with an_open_port(limits=limits) as port:
        assert await talk(port, b"") in (b"", b"reset")
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"G")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        await dripping
        writer.close()
        await until(lambda: port.connection_count == 0)


async def test_a_browser_has_only_so_many_connections() -> None:
    async with an_open_port(limits=PortLimits(connections=3)) as port:
        writers = [(await asyncio.open_connection("127.0.0.1", port.number))[1] for _ in range(3)]
        await until(lambda: port.connection_count == 3)

        assert await talk(port, b"GET http://x/ HTTP/1.1\r\n\r\n") in (b"", b"reset")
        for writer in writers:
            writer.close()
        await until(lambda: port.connection_count == 0)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
async def test_a_browser_that_does_not_read_holds_the_server_up(web: Web, method: str) -> None:
    async with an_open_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number, limit=1024)
        if method == "CONNECT":
            writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % web.port)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        else:
            writer.write(f"GET {web.url}/endless HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        async def stands_still() -> bool:
            before = web.sent
            await asyncio.sleep(0.2)
            return 0 < before == web.sent

        await eventually(stands_still, within=20, what="the server is held up")
        # What kernels buffer on two loopback connections, and a few chunks of ours.
        assert port.bytes_received < 32_000_000
        writer.transport.abort()
        await until(lambda: port.connection_count == 0 and web.open_connections == 0)


async def test_a_new_route_and_the_end_of_the_port_close_what_is_open(web: Web) -> None:
    async def open_tunnel(port: EgressPort) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writers.append(writer)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % web.port)
        await reader.readuntil(b"\r\n\r\n")
        return reader

    writers: list[asyncio.StreamWriter] = []
    async with a_forwarder() as forwarder:
        port = await forwarder.open(owner=None)
        await port.use(Route())
        for ends in (port.use(Route()), forwarder.close(port)):
            reader = await open_tunnel(port)
            await ends
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            await until(lambda: port.connection_count == 0)
    for writer in writers:
        writer.close()


async def test_thousands_of_connections_leave_nothing(web: Web) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def visit(port: EgressPort, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        if number % 2:
            writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % web.port)
            await reader.readuntil(b"\r\n\r\n")
        else:
            writer.write(f"GET {web.url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.read(1)
        # Some leave properly, some in the middle.
        if number % 3:
            writer.close()
        else:
            writer.transport.abort()

    async with an_open_port() as port:
        before = await asyncio.to_thread(descriptors)
        tasks = len(asyncio.all_tasks())
        for start in range(0, 2000, 100):
            await asyncio.gather(*(visit(port, number) for number in range(start, start + 100)))
        await until(lambda: port.connection_count == 0 and web.open_connections == 0)

        async def as_before() -> bool:
            return await asyncio.to_thread(descriptors) <= before and len(asyncio.all_tasks()) <= tasks

        await eventually(as_before, within=20, what="no descriptor and no task is left")


def test_all_this_holds_on_the_loop_that_services_run_on() -> None:
    async def once() -> None:
        async with serving_web() as web:
            await test_bodies_arrive_whole_however_they_are_framed(web)
            await test_a_browser_that_does_not_read_holds_the_server_up(web, "GET")
            await test_a_browser_that_does_not_read_holds_the_server_up(web, "CONNECT")
            await test_a_new_route_and_the_end_of_the_port_close_what_is_open(web)
        async with serving_web() as web:
            await test_thousands_of_connections_leave_nothing(web)
        await test_tunnels_carry_both_directions_and_end_one_after_the_other()
        await test_websockets_pass_by_connect_and_by_upgrade()

    uvloop.run(once())
