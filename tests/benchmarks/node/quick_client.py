"""A CDP client that costs next to nothing, so that what is measured is the way to the browser."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import msgspec
import picows
from picows import WSFrame, WSListener, WSMsgType, WSTransport

_SUM = b'{"expression":"1+1","returnByValue":true}'


class _Page(msgspec.Struct):
    targetId: str  # noqa: N815  # the protocol's name
    type: str


class _Targets(msgspec.Struct):
    targetInfos: list[_Page]  # noqa: N815  # the protocol's name


class _Attached(msgspec.Struct):
    sessionId: str  # noqa: N815  # the protocol's name


class _TargetsReply(msgspec.Struct):
    result: _Targets


class _AttachedReply(msgspec.Struct):
    result: _Attached


class QuickClient(WSListener):
    """One connection; answers are counted, and hardly looked at."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: WSTransport | None = None
        self._wanted = 0
        self._done: asyncio.Future[bytes] | None = None
        # Evaluations of a burst that are still to be sent, one for each answer.
        self._left = 0
        self._tail = b"}"
        self._next_id = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.TEXT:
            return
        message = frame.get_payload_as_bytes()
        if not message.startswith(b'{"id":'):
            return
        self._wanted -= 1
        if self._left > 0:
            self._left -= 1
            self._send(b"Runtime.evaluate", _SUM)
        if self._wanted == 0 and self._done is not None:
            self._done.set_result(message)

    async def attach_to_page(self) -> None:
        """Address the first page from now on."""
        targets = msgspec.json.decode(await self.call("Target.getTargets", b"{}"), type=_TargetsReply).result
        page = next(target.targetId for target in targets.targetInfos if target.type == "page")
        reply = await self.call("Target.attachToTarget", b'{"targetId":"%b","flatten":true}' % page.encode())
        session_id = msgspec.json.decode(reply, type=_AttachedReply).result.sessionId
        self._tail = b',"sessionId":"%b"}' % session_id.encode()

    async def call(self, method: str, params: bytes) -> bytes:
        """Send one command and return its answer as it came."""
        self._expect(1)
        self._send(method.encode(), params)
        return await self._answered()

    async def trip(self, expression: bytes = b"1+1") -> float:
        """Return the seconds that one evaluation took."""
        began = time.perf_counter()
        await self.call("Runtime.evaluate", b'{"expression":"%b","returnByValue":true}' % expression)
        return time.perf_counter() - began

    async def burst(self, count: int, at_once: int) -> float:
        """Return the seconds that so many evaluations took, so many of them under way at a time."""
        began = time.perf_counter()
        self._expect(count)
        self._left = count - at_once
        for _ in range(at_once):
            self._send(b"Runtime.evaluate", _SUM)
        await self._answered()
        return time.perf_counter() - began

    def _expect(self, answers: int) -> None:
        self._wanted = answers
        self._done = asyncio.get_running_loop().create_future()

    def _send(self, method: bytes, params: bytes) -> None:
        assert self._transport is not None
        self._next_id += 1
        self._transport.send(
            WSMsgType.TEXT, b'{"id":%d,"method":"%b","params":%b%b' % (self._next_id, method, params, self._tail)
        )

    async def _answered(self) -> bytes:
        assert self._done is not None
        return await self._done


@contextlib.asynccontextmanager
async def quick_client(url: str) -> AsyncIterator[QuickClient]:
    """A client on the first page of the browser at `url`."""
    transport, client = await picows.ws_connect(QuickClient, url, max_frame_size=1 << 28)
    assert isinstance(client, QuickClient)
    try:
        await client.attach_to_page()
        yield client
    finally:
        transport.disconnect()
        await transport.wait_disconnected()
