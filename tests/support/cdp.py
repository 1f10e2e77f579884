"""A browser's pipe and a client's socket, in memory."""

import json
from typing import Any

from browser_node.adapters.chromium.multiplexer import Multiplexer


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
