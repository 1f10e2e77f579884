import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from browser_node.adapters.chromium.live import messages as live
from browser_node.adapters.chromium.live.input import InputRefused
from browser_node.adapters.chromium.live.viewer import LiveViewer
from browser_node.adapters.chromium.pictures.pictures import Picture
from tests.support.artifact_recordings import jpeg
from tests.support.waiting import until

PICTURE = Picture(
    target_id="T", jpeg=jpeg(64, 48), taken_ms=0, page_width=64, page_height=48, offset_top=0, page_scale=1
)


@dataclass
class FakeSocket:
    """A ViewerSocket that keeps what it gets."""

    pictures: list[bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)  # events have any shape
    closed: tuple[int, str] | None = None
    reads: bool = True
    pauses: int = 0

    def send_event(self, message: bytes) -> None:
        self.events.append(json.loads(message))

    def send_picture(self, message: bytes) -> None:
        self.pictures.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def pause_reading(self) -> None:
        self.reads = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reads = True


@dataclass
class FakeView:
    """The view of a viewer: refuses what is asked for, and counts."""

    turns: int = 0
    asked: list[live.ControlCommand] = field(default_factory=list)
    left: int = 0

    def tab_of(self, target_id: str) -> int:
        return 5

    def watch(self, viewer: LiveViewer, tab: int | None) -> None:
        viewer.target_id = str(tab)

    def turn(self, viewer: LiveViewer) -> None:
        self.turns += 1

    def ask(self, viewer: LiveViewer, command: live.ControlCommand) -> None:
        self.asked.append(command)
        raise InputRefused("control_not_held", "No.")

    def gone(self, viewer: LiveViewer) -> None:
        self.left += 1


@pytest.fixture
def socket() -> FakeSocket:
    return FakeSocket()


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def viewer(socket: FakeSocket, view: FakeView) -> LiveViewer:
    return LiveViewer(host=view, socket=socket, generation=None)


def say(viewer: LiveViewer, kind: str, **members: object) -> None:
    viewer.receive(json.dumps({"type": kind, **members}).encode())


async def test_two_pictures_are_under_way_at_most(viewer: LiveViewer, socket: FakeSocket, view: FakeView) -> None:
    viewer.show(PICTURE)
    assert viewer.due() is not None
    viewer.show(PICTURE)

    assert viewer.due() is None
    say(viewer, "ack", seq=1)

    assert viewer.due() is not None
    assert view.turns == 1
    assert [message[4:8] for message in socket.pictures] == [b"\0\0\0\1", b"\0\0\0\2"]
    assert all(message.endswith(PICTURE.jpeg) for message in socket.pictures)


async def test_an_acknowledgement_stands_for_all_before_it(viewer: LiveViewer) -> None:
    viewer.show(PICTURE)
    viewer.show(PICTURE)

    say(viewer, "ack", seq=2)
    viewer.show(PICTURE)

    assert viewer.due() is not None


async def test_an_acknowledgement_of_what_was_never_sent_gives_nothing_ahead(viewer: LiveViewer) -> None:
    say(viewer, "ack", seq=4_000_000_000)
    viewer.show(PICTURE)
    viewer.show(PICTURE)

    assert viewer.due() is None


async def test_a_viewer_says_how_often_and_how_large(viewer: LiveViewer, view: FakeView) -> None:
    say(viewer, "quality", fps=2, width=640, height=360, quality=40)
    viewer.show(PICTURE)

    due = viewer.due()
    assert due is not None
    assert due - asyncio.get_running_loop().time() > 0.2
    assert (viewer.wish.width, viewer.wish.height, viewer.wish.quality) == (640, 360, 40)
    assert view.turns == 1


async def test_what_is_refused_is_told_and_the_viewer_stays(viewer: LiveViewer, socket: FakeSocket) -> None:
    say(viewer, "text", tab=1, text="x")
    viewer.receive(b"nonsense")

    assert [event["code"] for event in socket.events] == ["control_not_held", "invalid_command"]
    assert socket.closed is None


async def test_too_large_a_message_ends_the_viewer(viewer: LiveViewer, socket: FakeSocket, view: FakeView) -> None:
    viewer.receive(b" " * ((1 << 20) + 1))

    assert socket.closed == (1009, "message too big")
    assert view.left == 1


async def test_who_sends_too_fast_is_read_more_slowly_and_loses_nothing(
    viewer: LiveViewer, socket: FakeSocket, view: FakeView
) -> None:
    for number in range(305):
        say(viewer, "mouse_move", tab=number, x=0, y=0)

    assert not socket.reads
    assert len(view.asked) == 305
    await until(lambda: socket.reads)


async def test_who_acknowledges_nothing_is_closed_after_a_while(socket: FakeSocket, view: FakeView) -> None:
    viewer = LiveViewer(host=view, socket=socket, generation=None, patience=timedelta(milliseconds=50))
    viewer.show(PICTURE)
    say(viewer, "ack", seq=1)
    viewer.show(PICTURE)

    await until(lambda: socket.closed)

    assert socket.closed == (1013, "acknowledges nothing")
    assert view.left == 1
    viewer.leave()
    say(viewer, "ack", seq=2)
    assert (view.left, view.turns) == (1, 1)
