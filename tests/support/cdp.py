"""A browser's pipe and a client's socket, in memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

from browser_node.adapters.chromium.cdp.command_filter import SessionFolders
from browser_node.adapters.chromium.cdp.connection import Connection, Control, NobodyInControl
from browser_node.adapters.chromium.cdp.multiplexer import Multiplexer
from browser_node.usecases.ports import CdpAccess
from tests.support.waiting import until

FOLDERS = SessionFolders(downloads=Path("/s/d"), uploads=Path("/s/u"))
ROOT_A, ROOT_B, CHILD = "A" * 32, "B" * 32, "C" * 32


class FakePipe:
    """What the multiplexer writes, as messages; a browser's answers are put in by hand."""

    def __init__(self) -> None:
        self.multiplexer = Multiplexer()
        self.multiplexer.open(self._write)
        self.written: list[dict[str, Any]] = []  # CDP messages have any shape
        self.raw: list[bytes] = []

    def _write(self, data: bytes) -> None:
        assert b"\0" not in data
        self.raw.append(data)
        self.written.append(json.loads(data))

    def say(self, text: str) -> None:
        """Let the browser say something."""
        self.multiplexer.message(text.encode())

    def event(self, method: str, params: dict[str, Any], *, session: str) -> None:
        """Let the browser report something, as Chrome writes it."""
        body = json.dumps(params, separators=(",", ":"))
        self.say(f'{{"method":"{method}","params":{body},"sessionId":"{session}"}}')

    def answer(self, method: str, result: dict[str, Any] | None = None) -> None:
        """Answer the newest command of a method, as Chrome writes it."""
        command = next(command for command in reversed(self.written) if command["method"] == method)
        body = json.dumps(result or {}, separators=(",", ":"))
        tail = f',"sessionId":"{command["sessionId"]}"' if "sessionId" in command else ""
        self.say(f'{{"id":{command["id"]},"result":{body}{tail}}}')

    def commands(self, method: str) -> list[dict[str, Any]]:
        return [command for command in self.written if command["method"] == method]


class FakeClient:
    """A CdpClient that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []  # CDP messages have any shape
        self.closed: tuple[int, str] | None = None
        self.paused = False

    def send(self, message: bytes) -> None:
        self.got.append(json.loads(message))

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Place:
    """A client that is attached, and what the node heard of it."""

    def __init__(
        self,
        pipe: FakePipe,
        access: CdpAccess = CdpAccess(),  # noqa: B008  # a value
        control: Control = NobodyInControl(),  # noqa: B008  # a value
    ) -> None:
        self.client = FakeClient()
        self.contexts: list[str] = []
        self.actions: list[str] = []
        self.left = 0
        self.connection = Connection(
            multiplexer=pipe.multiplexer,
            client=self.client,
            folders=FOLDERS,
            on_context=self.contexts.append,
            on_action=self.actions.append,
            on_leave=self._leave,
            access=access,
            control=control,
        )

    def _leave(self, connection: Connection) -> None:
        self.left += 1

    def say(self, message: object) -> None:
        self.connection.receive(json.dumps(message).encode())


async def opened(pipe: FakePipe, place: Place, method: str = "Target.attachToBrowserTarget") -> "asyncio.Task[None]":
    """Let the client attach, up to where the browser has to answer."""
    before = len(pipe.commands(method))
    opening = asyncio.create_task(place.connection.open())
    await until(lambda: len(pipe.commands(method)) > before)
    return opening


async def attached(
    pipe: FakePipe,
    root: str,
    *,
    is_observer: bool = False,
    control: Control = NobodyInControl(),  # noqa: B008  # a value
) -> Place:
    """A client that has joined the browser with this root session."""
    place = Place(pipe, CdpAccess(is_observer=is_observer), control)
    opening = await opened(pipe, place)
    pipe.answer("Target.attachToBrowserTarget", {"sessionId": root})
    await opening
    return place


def child_appears(pipe: FakePipe, owner: str, child: str = CHILD, *, target: str = "T", waiting: bool = False) -> None:
    """A session to a target comes up below a client's root."""
    info = {"targetId": target, "type": "page"}
    pipe.event(
        "Target.attachedToTarget",
        {"sessionId": child, "targetInfo": info, "waitingForDebugger": waiting},
        session=owner,
    )
