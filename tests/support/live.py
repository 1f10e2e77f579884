"""A viewer of the live view, as docs/live-view.md says a client has to be."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import until

_HEADER = struct.Struct("!BBHIQIHHffff")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with what its header says."""

    seq: int
    taken_ms: int
    tab: int
    width: int
    height: int
    page_width: float
    page_height: float
    jpeg: bytes


@dataclass
class TestViewer:
    """Keeps what it gets; acknowledges each picture while `acks` is set."""

    __test__ = False

    socket: ClientConnection
    acks: bool = True
    frames: list[Frame] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)  # events have any shape
    closed: tuple[int, str] | None = None

    async def read(self) -> None:
        try:
            async for message in self.socket:
                if isinstance(message, str):
                    self.events.append(json.loads(message))
                    continue
                frame = parse_frame(message)
                self.frames.append(frame)
                if self.acks:
                    await self.say("ack", seq=frame.seq)
        except ConnectionClosed:
            pass
        self.closed = (self.socket.close_code or 0, self.socket.close_reason or "")

    async def say(self, kind: str, **members: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **members}))

    def last(self, kind: str) -> dict[str, Any] | None:
        return next((event for event in reversed(self.events) if event["type"] == kind), None)

    def tabs(self) -> list[dict[str, Any]]:
        event = self.last("tabs")
        tabs: list[dict[str, Any]] = event["tabs"] if event is not None else []
        return tabs

    def active(self) -> dict[str, Any] | None:
        return next((tab for tab in self.tabs() if tab["active"]), None)

    async def sees(self, condition: Callable[["TestViewer"], object], *, within: float = 10.0) -> None:
        await until(lambda: condition(self), within=within)

    async def tab(self) -> int:
        """Wait for a tab to be active, and a picture of it; return its number."""
        await self.sees(lambda viewer: (tab := viewer.active()) and any(f.tab == tab["tab"] for f in viewer.frames))
        active = self.active()
        assert active is not None
        return int(active["tab"])


def parse_frame(message: bytes) -> Frame:
    version, kind, length, seq, taken_ms, tab, width, height, page_width, page_height, _, _ = _HEADER.unpack_from(
        message
    )
    assert (version, kind, length) == (1, 1, _HEADER.size)
    return Frame(seq, taken_ms, tab, width, height, page_width, page_height, message[length:])


@contextlib.asynccontextmanager
async def watching(url: str, *, acks: bool = True) -> AsyncIterator[TestViewer]:
    async with connect(url, max_size=None, compression=None) as socket:
        viewer = TestViewer(socket, acks)
        reading = asyncio.create_task(viewer.read())
        try:
            yield viewer
        finally:
            await socket.close()
            await reading
