"""A captcha solver service on loopback that speaks createTask and getTaskResult, and checks what it is asked."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from browser_node.adapters.captcha.settings import DEFAULT_TASK_TYPES, SolverSettings
from fleetkit.settings import Secret

KEY = "the-solvers-key"
SOLUTIONS = {
    "ImageToTextTask": {"text": "w7pk"},
    "RecaptchaV2TaskProxyless": {"gRecaptchaResponse": "token-recaptcha"},
    "HCaptchaTaskProxyless": {"gRecaptchaResponse": "token-hcaptcha"},
    "TurnstileTaskProxyless": {"token": "token-turnstile"},
}


@dataclass
class CaptchaService:
    """`replies` are given, in order, instead of what the service would say by itself."""

    port: int = 0
    replies: deque[bytes | dict[str, Any]] = field(default_factory=deque)  # replies may be any JSON
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # likewise
    _tasks: dict[int, str] = field(default_factory=dict)
    _polls: dict[int, int] = field(default_factory=dict)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What was asked for."""
        return [content["task"] for method, content in self.requests if method == "createTask"]

    def settings(self, **changes: Any) -> SolverSettings:  # any field
        """Settings of a node that uses this service, quickly."""
        fields: dict[str, Any] = {
            "url": f"http://127.0.0.1:{self.port}",
            "key": Secret(KEY),
            "task_types": DEFAULT_TASK_TYPES,
            "poll_interval": timedelta(milliseconds=20),
            "timeout": timedelta(seconds=30),
            "tasks_per_session": 20,
            "patience": timedelta(0),
            **changes,
        }
        return SolverSettings(**fields)

    def reply_to(self, method: str, content: dict[str, Any]) -> bytes:
        self.requests.append((method, content))
        if self.replies:
            reply = self.replies.popleft()
            return reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        return json.dumps(self._reply(method, content)).encode()

    def _reply(self, method: str, content: dict[str, Any]) -> dict[str, Any]:
        if content.get("clientKey") != KEY:
            return {"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}
        if method == "createTask":
            task = content["task"]
            wanted = {"body"} if task["type"] == "ImageToTextTask" else {"websiteURL", "websiteKey"}
            if task["type"] not in SOLUTIONS or task.keys() != {"type", *wanted}:
                return {"errorId": 1, "errorCode": "ERROR_TASK_NOT_SUPPORTED"}
            number = len(self._tasks) + 1
            self._tasks[number] = task["type"]
            return {"errorId": 0, "taskId": number}
        number = content["taskId"]
        self._polls[number] = self._polls.get(number, 0) + 1
        if self._polls[number] < 2:
            return {"errorId": 0, "status": "processing"}
        return {"errorId": 0, "status": "ready", "solution": SOLUTIONS[self._tasks[number]], "cost": "0.001"}


@contextlib.asynccontextmanager
async def serving_captcha_service() -> AsyncIterator[CaptchaService]:
    service = CaptchaService()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            content = json.loads(await reader.readexactly(length))
            assert head.startswith("post /")
            body = service.reply_to(
                {"/createtask": "createTask", "/gettaskresult": "getTaskResult"}[head.split()[1]], content
            )
            status = b"200 OK"
            if body.startswith(b"HTTP "):
                status, body = body.removeprefix(b"HTTP "), b""
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status, len(body), body)
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        service.port = server.sockets[0].getsockname()[1]
        yield service
