"""What a socket does with a client that reads slowly, and with one that is not joined yet."""

import asyncio
from typing import cast

from picows import WSMsgType, WSTransport

from browser_node.adapters.doors.client_socket import ClientSocket
from browser_node.usecases.ports import CdpAccess, CdpClient, CdpConnection, LiveBrowser
from fleetkit.errors import Unavailable
from tests.support.node_fakes import FakeBrowser
from tests.support.waiting import until

MIB = 1024 * 1024


class Wire:
    """A picows transport, and the transport below it, in memory."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed: tuple[int, bytes] | None = None
        self.reading = True
        self.is_disconnected = False
        self.underlying_transport = self

    def set_write_buffer_limits(self, *, high: int) -> None:
        self.high = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def send(self, kind: WSMsgType, message: bytes) -> None:
        self.sent += len(message)

    def send_close(self, code: int, reason: bytes) -> None:
        self.closed = (int(code), reason)

    def disconnect(self, graceful: bool = True) -> None:
        self.is_disconnected = True


class Joined:
    """A place in a browser."""

    def __init__(self) -> None:
        self.left = 0

    def receive(self, message: bytes) -> None:
        raise AssertionError("nothing is said here")

    def leave(self) -> None:
        self.left += 1


class Opening(FakeBrowser):
    """A browser that lets a client in when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.place: asyncio.Future[CdpConnection] = asyncio.get_running_loop().create_future()

    async def attach(self, client: CdpClient, access: CdpAccess) -> CdpConnection:
        return await self.place


async def joined() -> tuple[ClientSocket, Wire, Joined]:
    browser, wire, place = Opening(), Wire(), Joined()
    socket = ClientSocket(cast("LiveBrowser", browser), CdpAccess(), lambda task: None)
    # Only what a socket uses of a transport is there.
    socket.on_ws_connected(cast("WSTransport", wire))
    assert not wire.reading
    browser.place.set_result(place)
    await until(lambda: wire.reading)
    return socket, wire, place


async def test_a_client_that_reads_gets_any_amount() -> None:
    socket, wire, _ = await joined()
    for _ in range(100):
        socket.send(bytes(MIB))
    assert wire.sent == 100 * MIB
    assert wire.closed is None


async def test_a_client_that_is_behind_is_cut_when_too_many_bytes_wait() -> None:
    socket, wire, place = await joined()
    socket.pause_writing()
    for _ in range(33):
        socket.send(bytes(MIB))

    assert wire.closed == (1013, b"reads too slowly")
    assert wire.sent == 32 * MIB
    assert place.left == 1


async def test_a_client_that_is_behind_is_cut_when_too_many_messages_wait() -> None:
    socket, wire, _ = await joined()
    socket.pause_writing()
    for _ in range(20_001):
        socket.send(b"x")

    assert wire.closed == (1013, b"reads too slowly")
    assert wire.sent == 20_000


async def test_a_client_that_catches_up_begins_anew() -> None:
    socket, wire, _ = await joined()
    for _ in range(3):
        socket.pause_writing()
        for _ in range(20):
            socket.send(bytes(MIB))
        socket.resume_writing()
    assert wire.closed is None


async def test_one_message_may_be_larger_than_what_may_wait() -> None:
    socket, wire, _ = await joined()
    socket.pause_writing()
    socket.send(bytes(64 * MIB))
    assert wire.closed is None
    socket.send(b"x")
    assert wire.closed is not None


async def test_a_pause_that_came_before_the_browser_was_joined_holds() -> None:
    browser, wire = Opening(), Wire()
    socket = ClientSocket(cast("LiveBrowser", browser), CdpAccess(), lambda task: None)
    socket.on_ws_connected(cast("WSTransport", wire))
    socket.pause_reading()
    browser.place.set_result(Joined())
    await asyncio.sleep(0.02)
    assert not wire.reading

    socket.resume_reading()

    assert wire.reading


async def test_a_browser_that_lets_nobody_in_closes_the_socket() -> None:
    browser, wire = Opening(), Wire()
    socket = ClientSocket(cast("LiveBrowser", browser), CdpAccess(), lambda task: None)
    socket.on_ws_connected(cast("WSTransport", wire))

    browser.place.set_exception(Unavailable("not now"))

    await until(lambda: wire.closed)
    assert wire.closed == (1001, b"not now")
