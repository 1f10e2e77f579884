"""The floor of a live view: one client on Chrome's own port that casts a page and acknowledges at a pace."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import msgspec
from websockets.asyncio.client import ClientConnection, connect

_CAST = {"format": "jpeg", "quality": 60, "maxWidth": 1280, "maxHeight": 720}


class _Frame(msgspec.Struct):
    sessionId: int  # noqa: N815  # the protocol's name
    data: bytes


class _Message(msgspec.Struct):
    id: int | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Message).decode
_decode_frame = msgspec.json.Decoder(_Frame).decode


class RawCast:
    """Counts pictures, and wakes who waits for one."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._next_id = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._page: str | None = None
        self._answers: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self.fps = 25.0
        self.pictures = 0
        self.came = asyncio.Event()
        # The last message with a picture, as it came.
        self.sample = b""

    async def read(self) -> None:
        due = 0.0
        async for text in self._socket:
            raw = text.encode() if isinstance(text, str) else text
            message = _decode(raw)
            if message.id is not None and message.id in self._answers:
                self._answers.pop(message.id).set_result(message.result)
            elif message.method == "Page.screencastFrame":
                self.sample = raw
                frame = _decode_frame(message.params)
                self.pictures += 1
                self.came.set()
                due = max(due + 1 / self.fps, time.monotonic())
                asyncio.get_running_loop().call_later(due - time.monotonic(), self._acknowledge, frame.sessionId)

    def _acknowledge(self, number: int) -> None:
        self.tell("Page.screencastFrameAck", sessionId=number)

    def tell(self, method: str, **params: object) -> int:
        self._next_id += 1
        command: dict[str, object] = {"id": self._next_id, "method": method, "params": params}
        if self._page is not None:
            command["sessionId"] = self._page
        sending = asyncio.create_task(self._socket.send(json.dumps(command)))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return self._next_id

    async def call(self, method: str, **params: object) -> dict[str, object]:
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._answers[self.tell(method, **params)] = future
        async with asyncio.timeout(10):
            result: dict[str, object] = msgspec.json.decode(await future)
        return result

    async def open(self, url: str) -> None:
        """Show a page, and address it from now on."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        assert isinstance(targets, list)
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._page = str((await self.call("Target.attachToTarget", targetId=page, flatten=True))["sessionId"])
        await self.show(url)

    async def show(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def start(self) -> None:
        await self.call("Page.startScreencast", **_CAST)

    async def stop(self) -> None:
        await self.call("Page.stopScreencast")


@contextlib.asynccontextmanager
async def raw_cast(url: str) -> AsyncIterator[RawCast]:
    async with connect(url, compression=None, max_size=None, ping_interval=None) as socket:
        cast = RawCast(socket)
        reading = asyncio.create_task(cast.read())
        try:
            yield cast
        finally:
            reading.cancel()
