"""Looks for captchas in every page and frame of one browser, and answers them."""

import asyncio
import logging
import time
from typing import Protocol

import msgspec
from opentelemetry import metrics

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved, Sighting
from browser_node.adapters.captcha.place import CaptchaPlace, script
from browser_node.adapters.captcha.settings import SolverSettings
from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession

log = logging.getLogger(__name__)

_WORLD = "browserfleet"
_BINDING = "fleetCaptchaFound"
_AT_ONCE = 2
# Of what pages report, so many times the tasks is listened to: a page can make up captchas without end.
_SIGHTINGS_PER_TASK = 10


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
        await asyncio.to_thread(script, "find.js")
        await asyncio.to_thread(script, "tell.js")
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
        finder = {"source": script("find.js"), "worldName": _WORLD, "runImmediately": True}
        tell("Page.addScriptToEvaluateOnNewDocument", finder, session_id)
        tell("Target.setAutoAttach", _attach_to("iframe"), session_id)

    def _on_found(self, event: _CalledEvent) -> None:
        if event.params.name != _BINDING or self._sightings_left == 0:
            return
        self._sightings_left -= 1
        sighting = _decode_sighting(event.params.payload)
        place = CaptchaPlace(self._session, event.sessionId, event.params.executionContextId, sighting.number)
        task = asyncio.create_task(self._handle(sighting.challenge(), place))
        self._solving.add(task)
        task.add_done_callback(self._solving.discard)

    async def _handle(self, challenge: Challenge, place: CaptchaPlace) -> None:
        started = time.monotonic()
        try:
            async with self._turns:
                await self._answer(challenge, place)
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

    async def _answer(self, challenge: Challenge, place: CaptchaPlace) -> None:
        if challenge.kind is ChallengeKind.TURNSTILE:
            await asyncio.sleep(self._settings.patience.total_seconds())
        if not await place.is_waiting():
            raise NotSolved("not-needed")
        if self._tasks_left == 0:
            raise NotSolved("session-limit")
        self._tasks_left -= 1
        answer = await self._solver.solve(challenge)
        await place.fill(answer, challenge)


def _attach_to(kind: str) -> dict[str, object]:
    return {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True, "filter": [{"type": kind}]}
