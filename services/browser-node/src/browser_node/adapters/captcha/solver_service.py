"""Asks a solver service over the JSON interface that such services share: createTask, getTaskResult."""

import asyncio
import base64
import logging
import re
import time
from datetime import timedelta

import httpx
import msgspec

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved
from browser_node.adapters.captcha.settings import SolverSettings

log = logging.getLogger(__name__)

_CALL_TIMEOUT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(seconds=30)
_MAX_REPLY = 256 << 10
# After an error that the operator has to mend the service is left alone for a while.
_REST = timedelta(minutes=5)
_BUSY = frozenset({"ERROR_NO_SLOT_AVAILABLE", "ERROR_TOO_MUCH_REQUESTS", "ERROR_SERVICE_UNAVAILABLE"})
_OPERATORS = frozenset(
    {
        "ERROR_KEY_DOES_NOT_EXIST",
        "ERROR_WRONG_USER_KEY",
        "ERROR_ZERO_BALANCE",
        "ERROR_IP_NOT_ALLOWED",
        "ERROR_IP_BLOCKED",
        "ERROR_IP_BANNED",
        "ERROR_ACCOUNT_SUSPENDED",
    }
)
_CODE = re.compile(r"[A-Z0-9_]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_MAX_TEXT = 64


class _Solution(msgspec.Struct):
    # Where a service puts its answer depends on the kind of task.
    gRecaptchaResponse: str = ""  # noqa: N815  # the interface's name
    token: str = ""
    text: str = ""


class _Reply(msgspec.Struct):
    errorId: int = 0  # noqa: N815  # the interface's name
    errorCode: str | None = None  # noqa: N815  # the interface's name
    taskId: int | str | None = None  # noqa: N815  # the interface's name
    status: str = ""
    solution: _Solution | None = None


_decode = msgspec.json.Decoder(_Reply).decode


class SolverService:
    """The operator's solver service. One for all sessions of a node."""

    def __init__(self, http: httpx.AsyncClient, settings: SolverSettings) -> None:
        self._http = http
        self._settings = settings
        self._resting_until = 0.0

    async def solve(self, challenge: Challenge) -> str:
        """Return the answer to a challenge. Raises NotSolved."""
        if time.monotonic() < self._resting_until:
            raise NotSolved("solver-refuses")
        try:
            async with asyncio.timeout(self._settings.timeout.total_seconds()):
                reply = await self._create(challenge)
                task_id = reply.taskId
                while reply.status != "ready":
                    await asyncio.sleep(self._settings.poll_interval.total_seconds())
                    reply = await self._call("getTaskResult", {"taskId": task_id})
                    if reply.status not in {"ready", "processing", "idle"}:
                        raise NotSolved("garbage")
        except TimeoutError:
            raise NotSolved("timeout") from None
        return _answer(challenge.kind, reply.solution)

    async def _create(self, challenge: Challenge) -> _Reply:
        reply = await self._call("createTask", {"task": self._task(challenge)})
        if reply.taskId is None and reply.status != "ready":
            raise NotSolved("garbage")
        return reply

    def _task(self, challenge: Challenge) -> dict[str, object]:
        task: dict[str, object] = {"type": self._settings.task_types[challenge.kind]}
        if challenge.kind is ChallengeKind.IMAGE:
            return {**task, "body": base64.b64encode(challenge.image).decode()}
        return {**task, "websiteURL": challenge.page_url, "websiteKey": challenge.site_key}

    async def _call(self, method: str, content: dict[str, object]) -> _Reply:
        """Call until the service has an ear; the caller's timeout ends that. Raises NotSolved."""
        wait = self._settings.poll_interval
        while True:
            reply = await self._try(method, content)
            if reply is not None:
                return reply
            await asyncio.sleep(wait.total_seconds())
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _try(self, method: str, content: dict[str, object]) -> _Reply | None:
        """Return None when the service is busy, or away. Raises NotSolved."""
        # Not a timeout of the answer: a task whose creation is not heard of may be there, and paid.
        try:
            code, body = await self._post(method, content)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return None
        except httpx.HTTPError:
            if method == "createTask":
                raise NotSolved("unreachable") from None
            return None
        if code == httpx.codes.TOO_MANY_REQUESTS or code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return None
        try:
            reply = _decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise NotSolved("garbage") from None
        if not reply.errorId:
            return reply
        error = reply.errorCode if reply.errorCode and _CODE.fullmatch(reply.errorCode) else "ERROR_UNKNOWN"
        if error in _BUSY:
            return None
        if error in _OPERATORS:
            self._resting_until = time.monotonic() + _REST.total_seconds()
            log.error("the captcha solver refuses this node's key: %s", error)
        raise NotSolved(error)

    async def _post(self, method: str, content: dict[str, object]) -> tuple[int, bytes]:
        # The key goes into the body, never into the address.
        document = {"clientKey": self._settings.key.reveal(), **content}
        async with self._http.stream("POST", f"{self._settings.url}/{method}", json=document) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_REPLY:
                    raise NotSolved("garbage")
            return response.status_code, body


def _answer(kind: ChallengeKind, solution: _Solution | None) -> str:
    if solution is None:
        raise NotSolved("garbage")
    if kind is ChallengeKind.IMAGE:
        text = solution.text.strip()
        if not text or len(text) > _MAX_TEXT or not text.isprintable():
            raise NotSolved("garbage")
        return text
    token = solution.gRecaptchaResponse or solution.token
    if not _TOKEN.fullmatch(token):
        raise NotSolved("garbage")
    return token


async def http_client() -> httpx.AsyncClient:
    """Return a client for the service. It reads certificates from disk, so a thread makes it."""
    return await asyncio.to_thread(
        httpx.AsyncClient, timeout=_CALL_TIMEOUT.total_seconds(), follow_redirects=False, trust_env=False
    )
