"""Looks for captchas in every page and frame of one browser, and answers them."""

import asyncio
import functools
import logging
import time
from datetime import timedelta
from importlib import resources
from typing import Any, Protocol

import msgspec
from opentelemetry import metrics

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved, Sighting
from browser_node.adapters.captcha.settings import SolverSettings
from browser_node.adapters.chromium.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.node_session import NodeSession

log = logging.getLogger(__name__)

_WORLD = "browserfleet"
_BINDING = "fleetCaptchaFound"
_AT_ONCE = 2
# Of what pages report, so many times the tasks is listened to: a page can make up captchas without end.
_SIGHTINGS_PER_TASK = 10
# A page can answer slowly, or never: its own code runs when it is told.
_PAGE_TIMEOUT = timedelta(seconds=10)


class Solver(Protocol):
    """Whoever answers challenges."""

    async def solve(self, challenge: Challenge) -> str:
        """Return the answer. Raises NotSolved."""
        ...


class _TargetInfo(msgspec.Struct, gc=False):
    type: str


class _AttachedParams(msgspec.Struct, gc=False):
    sessionId: str  # noqa: N815  # the protocol's name
    targetInfo: _TargetInfo  # noqa: N815  # the protocol's name


class _AttachedEvent(msgspec.Struct, gc=False):
    params: _AttachedParams


class _CalledParams(msgspec.Struct, gc=False):
    name: str
    payload: str
    executionContextId: int  # noqa: N815  # the protocol's name


class _CalledEvent(msgspec.Struct, gc=False):
    params: _CalledParams
    sessionId: str  # noqa: N815  # the protocol's name


_decode_attached = msgspec.json.Decoder(_AttachedEvent).decode
_decode_called = msgspec.json.Decoder(_CalledEvent).decode
_decode_sighting = msgspec.json.Decoder(Sighting).decode


@functools.cache
def _script(name: str) -> str:
    return resources.files("browser_node.adapters.captcha").joinpath(name).read_text("utf-8")


class BrowserWatch:
    """A session's captchas: at most two are under way, and so many tasks are paid for as the operator allows."""

    def __init__(self, multiplexer: Multiplexer, solver: Solver, settings: SolverSettings) -> None:
        self._session = NodeSession(multiplexer, self._on_event)
        self._solver = solver
        self._settings = settings
        self._tasks_left = settings.tasks_per_session
        self._sightings_left = settings.tasks_per_session * _SIGHTINGS_PER_TASK
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._solving: set[asyncio.Task[None]] = set()
        self._solved = metrics.get_meter(__name__).create_counter(
            "fleet.captchas", unit="{captcha}", description="Captchas seen, by kind and by what came of them."
        )

    async def open(self) -> None:
        """Begin to look. Raises CdpError."""
        await asyncio.to_thread(_script, "find.js")
        await asyncio.to_thread(_script, "tell.js")
        await self._session.open()
        await self._session.call("Target.setAutoAttach", _attach_to("page"))

    async def close(self) -> None:
        """Stop looking; what is under way is given up."""
        self._session.close()
        solving = list(self._solving)
        for task in solving:
            task.cancel()
        await asyncio.gather(*solving, return_exceptions=True)

    def _on_event(self, message: bytes) -> None:
        try:
            if message.startswith(b'{"method":"Target.attachedToTarget"'):
                self._enter(_decode_attached(message).params.sessionId)
            elif message.startswith(b'{"method":"Runtime.bindingCalled"'):
                self._on_found(_decode_called(message))
        except (msgspec.DecodeError, ValueError):
            log.warning("a report of a page is not understood")

    def _enter(self, session_id: str) -> None:
        """Put the script into a page, or a frame that has a process of its own, and into what they open."""
        tell = self._session.tell
        # Without these two neither the script nor the binding comes into documents that are yet to be.
        tell("Page.enable", {}, session_id)
        tell("Runtime.enable", {}, session_id)
        tell("Runtime.addBinding", {"name": _BINDING, "executionContextName": _WORLD}, session_id)
        script = {"source": _script("find.js"), "worldName": _WORLD, "runImmediately": True}
        tell("Page.addScriptToEvaluateOnNewDocument", script, session_id)
        tell("Target.setAutoAttach", _attach_to("iframe"), session_id)

    def _on_found(self, event: _CalledEvent) -> None:
        if event.params.name != _BINDING or self._sightings_left == 0:
            return
        self._sightings_left -= 1
        sighting = _decode_sighting(event.params.payload)
        frame = _Frame(self._session, event.sessionId, event.params.executionContextId, sighting.number)
        task = asyncio.create_task(self._handle(sighting.challenge(), frame))
        self._solving.add(task)
        task.add_done_callback(self._solving.discard)

    async def _handle(self, challenge: Challenge, frame: "_Frame") -> None:
        started = time.monotonic()
        try:
            async with self._turns:
                await self._answer(challenge, frame)
            outcome = "solved"
        except NotSolved as cause:
            outcome = str(cause)
        except (CdpError, TimeoutError):
            outcome = "page-left"
        log.info(
            "a captcha: %s",
            outcome,
            extra={
                "kind": challenge.kind,
                "host": challenge.host,
                "seconds": round(time.monotonic() - started, 1),
            },
        )
        self._solved.add(1, {"kind": challenge.kind, "outcome": outcome})

    async def _answer(self, challenge: Challenge, frame: "_Frame") -> None:
        if challenge.kind is ChallengeKind.TURNSTILE:
            await asyncio.sleep(self._settings.patience.total_seconds())
        if not await frame.is_waiting():
            raise NotSolved("not-needed")
        if self._tasks_left == 0:
            raise NotSolved("session-limit")
        self._tasks_left -= 1
        answer = await self._solver.solve(challenge)
        await frame.fill(answer, challenge)


class _Frame:
    """A captcha's place in a page: the world that the node's script has there."""

    def __init__(self, session: NodeSession, session_id: str, context: int, number: int) -> None:
        self._session = session
        self._session_id = session_id
        self._context = context
        self._number = number

    async def is_waiting(self) -> bool:
        """Tell whether the captcha is there and has no answer yet. Raises CdpError, TimeoutError."""
        result = await self._evaluate(f"fleetCaptchas.isWaiting({self._number})")
        return result.get("value") is True

    async def fill(self, answer: str, challenge: Challenge) -> None:
        """Write the answer where the widget would, and tell the page. Raises CdpError, NotSolved, TimeoutError."""
        if not await self.is_waiting():
            raise NotSolved("too-late")
        text = msgspec.json.encode(answer).decode()
        element = await self._evaluate(f"fleetCaptchas.fill({self._number}, {text})", by_value=False)
        if challenge.kind is ChallengeKind.IMAGE:
            return
        # The callback is a function of the page's: the element is looked up again in the page's own world.
        node = await self._call("DOM.describeNode", {"objectId": element["objectId"]})
        resolved = await self._call("DOM.resolveNode", {"backendNodeId": node["node"]["backendNodeId"]})
        told = {
            "functionDeclaration": _script("tell.js"),
            "objectId": resolved["object"]["objectId"],
            "arguments": [{"value": answer}, {"value": challenge.site_key}],
        }
        await self._call("Runtime.callFunctionOn", told)

    async def _evaluate(self, expression: str, *, by_value: bool = True) -> dict[str, Any]:  # a remote object
        params = {"expression": expression, "contextId": self._context, "returnByValue": by_value}
        answer = await self._call("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            raise NotSolved("page-left")
        result: dict[str, Any] = answer["result"]
        return result

    async def _call(self, method: str, params: dict[str, object]) -> dict[str, Any]:  # the result of any command
        async with asyncio.timeout(_PAGE_TIMEOUT.total_seconds()):
            return await self._session.call(method, params, self._session_id)


def _attach_to(kind: str) -> dict[str, object]:
    return {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True, "filter": [{"type": kind}]}
