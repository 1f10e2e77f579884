"""A session as its user holds it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx
from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.artifact.v1 import artifact_pb2
from browserfleet.browser.v1 import browser_pb2
from browserfleet.client.artifact import Artifact, pauses
from browserfleet.client.browsers import Browsers, Via
from browserfleet.client.calls import Retries
from browserfleet.client.durations import Span, to_duration, to_timedelta
from browserfleet.client.errors import AttachFailed, SessionEnded, SessionNotOpen, WaitTimedOut
from browserfleet.client.front_door import FrontDoor
from browserfleet.client.occupancy import Holding
from browserfleet.client.options import Receipt
from browserfleet.client.states import CloseReason, SessionState
from browserfleet.session.v1 import session_pb2, session_service_pb2

if TYPE_CHECKING:
    from playwright.async_api import Browser

_DETACH_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The ways to a fleet that a client shares among its sessions."""

    front_door: FrontDoor
    browsers: Browsers
    http: httpx.AsyncClient
    retries: Retries


class Session:
    """A live browser of the fleet, which stays open between runs.

    The properties are what the fleet last said; `refresh` asks again. As a block (`async with await
    fleet.attach(id)`) it detaches its own browsers at the end and leaves the session open.
    """

    def __init__(self, message: session_pb2.Session, reach: Reach) -> None:
        self._message = message
        self._reach = reach
        self._attached: list[Browser] = []

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.detach()

    @property
    def id(self) -> str:
        """ID (`pbs_…`): all that another program needs to attach to the same session."""
        return self._message.id

    @property
    def state(self) -> SessionState:
        """Where the session is in its life."""
        return SessionState.of(self._message.state, session_pb2.Session.State.items(), prefix="STATE_")

    @property
    def close_reason(self) -> CloseReason | None:
        """Why the session ended; None while it has not."""
        if not self._message.close_reason:
            return None
        return CloseReason.of(self._message.close_reason, session_pb2.CloseReason.items(), prefix="CLOSE_REASON_")

    @property
    def close_message(self) -> str:
        """One sentence for people on how the session ended."""
        return self._message.close_message

    @property
    def create_time(self) -> datetime | None:
        """When the session was asked for (UTC)."""
        return _instant(self._message, "create_time", self._message.create_time)

    @property
    def start_time(self) -> datetime | None:
        """When the browser was up and the countdown began (UTC)."""
        return _instant(self._message, "start_time", self._message.start_time)

    @property
    def expire_time(self) -> datetime | None:
        """Deadline (UTC): when the session closes, even if a run is still going on."""
        return _instant(self._message, "expire_time", self._message.expire_time)

    @property
    def end_time(self) -> datetime | None:
        """When the session ended (UTC)."""
        return _instant(self._message, "end_time", self._message.end_time)

    @property
    def timeout(self) -> timedelta:
        """Granted lifetime, which an operator's cap may have made shorter than what was asked for."""
        return self._message.timeout.ToTimedelta()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the fleet changed about the request, in words, for example a capped timeout."""
        return tuple(self._message.warnings)

    @property
    def labels(self) -> Mapping[str, str]:
        """Names and values that the session was given when it was made."""
        return dict(self._message.labels)

    @property
    def occupied(self) -> bool:
        """Whether a task or an agent holds the session."""
        return self._message.occupied

    @property
    def queue_position(self) -> int | None:
        """Place in the queue, from 1; None while the session does not wait there, and for sessions of a list."""
        return self._message.queue.position if self._message.HasField("queue") else None

    @property
    def queue_message(self) -> str:
        """One sentence for people on what the session waits for in the queue."""
        return self._message.queue.message

    @property
    def cdp_url(self) -> str:
        """Address for any CDP client, together with the header `x-api-key`. It holds no secret."""
        return self._message.cdp_url

    @property
    def browser_product(self) -> str:
        """Product and version as the browser itself reports them; empty before RUNNING."""
        return self._message.browser.product

    @property
    def started_warm(self) -> bool:
        """Whether the browser stood ready; False also before RUNNING. `start_message` says why or why not."""
        return self._message.browser.start_mode == browser_pb2.START_MODE_WARM

    @property
    def start_message(self) -> str:
        """One sentence for people on how the browser was started."""
        return self._message.browser.start_mode_message

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """What became of each option that was asked of the browser; empty before RUNNING, and for sessions of a list."""
        return tuple(Receipt.of(receipt) for receipt in self._message.browser.receipts)

    async def signed_url(self, scope: str = "view", *, control: int = 0, ttl: Span = timedelta(minutes=15)) -> str:
        """Return an address of the running session that holds its own credentials: whoever has it may do as much.

        `scope`: "view" (the live view), "control" (its input too, while the control lease of the generation `control` is
        held), "observe" (CDP that changes nothing) or "full" (CDP). It is good for new connections for `ttl`, from 10 s
        to 15 min. Raises SessionEnded, SessionNotOpen, ControlTaken, InvalidRequest, and ValueError for another scope.
        """
        request = session_service_pb2.CreateAttachEndpointRequest(
            session_id=self.id,
            scope=session_pb2.AttachScope.Value(f"ATTACH_SCOPE_{scope.upper()}"),
            ttl=to_duration(ttl),
            control_generation=control,
        )
        return (await self._reach.front_door.endpoint(request)).edge_url

    async def refresh(self) -> Self:
        """Ask the fleet for the present state; returns this object. Raises SessionNotFound."""
        self._message = await self._reach.front_door.get(self.id)
        return self

    async def playwright(self, *, via: Via = "auto", timeout: Span = timedelta(seconds=30)) -> "Browser":
        """Attach with Playwright and return its `Browser`; `browser.contexts[0]` holds the session's own pages.

        `browser.close()` only detaches: the session, its pages and its logins stay for the next client. A recording
        runs from attach to detach. `via` chooses the way: "node" goes straight to the node, "edge" through the
        fleet's own address, "auto" to the node where it can be dialled. A lost connection is not restored by itself:
        call this again; no action is ever replayed.
        Raises SessionEnded, AttachFailed, WaitTimedOut when the session is not running within `timeout`.
        """
        bound = to_timedelta(timeout)
        await self._running(bound)
        try:
            browser = await self._reach.browsers.connect(self._message, via=via, timeout=bound)
        except AttachFailed:
            self._raise_if_ended(await self.refresh())
            raise
        self._attached.append(browser)
        return browser

    async def detach(self) -> None:
        """Detach every browser that this object attached. The session stays open."""
        attached, self._attached = self._attached, []
        if attached:
            await asyncio.gather(*(_detach(browser) for browser in attached))

    async def downloads(self, *, wait: Span | None = None, at_least: int = 1) -> list[Artifact]:
        """Return what the browser downloaded, oldest first, also while the session runs.

        Playwright's own `download.path()` and `save_as()` do not reach the fleet's files: these do. With `wait` it
        waits, at most that long, until there are `at_least` downloads and each is STORED or FAILED; raises
        WaitTimedOut when that does not come true.
        """
        return await self._artifacts(artifact_pb2.Artifact.KIND_DOWNLOAD, wait, at_least)

    async def recordings(self, *, wait: Span | None = None, at_least: int = 1) -> list[Artifact]:
        """Return the videos of the session's runs, oldest first; one per attach, complete after its detach.

        `wait` and `at_least` mean what they do for `downloads`.
        """
        return await self._artifacts(artifact_pb2.Artifact.KIND_RECORDING, wait, at_least)

    async def extend(self, additional_time: Span) -> Self:
        """Move the deadline by whole minutes; returns this object.

        Raises TimeoutLimit past the operator's limit, SessionEnded, InvalidRequest. It is never repeated by itself:
        after FleetUnavailable or CallTimedOut, `refresh` and look at `expire_time`.
        """
        try:
            self._message = await self._reach.front_door.extend(self.id, additional_time)
        except SessionNotOpen:
            self._raise_if_ended(await self.refresh())
            raise
        return self

    def occupy(
        self, *, task: str | None = None, agent: str | None = None, ttl: Span | None = None
    ) -> AbstractAsyncContextManager[Self]:
        """Return a block that holds the session for one run: `async with session.occupy(task="nightly-42")`.

        The run is a task or an agent, named by an ID of the caller's choice. With `ttl` (from 10 s) the holding ends
        that long after this program was last heard of, and is renewed meanwhile; without, it ends with the session if
        the program does not leave the block. Entering raises SessionOccupied, SessionNotOpen. When the holding is
        lost inside the block, the block is cancelled and raises OccupancyLost.
        """
        if task is not None and agent is None:
            kind, holder_id = session_pb2.HOLDER_KIND_TASK, task
        elif agent is not None and task is None:
            kind, holder_id = session_pb2.HOLDER_KIND_AGENT, agent
        else:
            raise TypeError("a session is occupied by a task or by an agent: give one of the two IDs")
        request = session_service_pb2.OccupySessionRequest(
            session_id=self.id,
            holder_kind=kind,
            holder_id=holder_id,
            ttl=None if ttl is None else to_duration(ttl),
        )
        return self._occupied(Holding(self._reach.front_door, request, self._learn))

    @contextlib.asynccontextmanager
    async def _occupied(self, holding: Holding) -> AsyncIterator[Self]:
        async with holding.held():
            yield self

    def _learn(self, message: session_pb2.Session) -> None:
        self._message = message

    async def close(self) -> Self:
        """End the session at once, for everybody; returns this object. Closing an ended session changes nothing."""
        await self.detach()
        self._message = await self._reach.front_door.close(self.id)
        return self

    async def _running(self, bound: timedelta) -> None:
        # Asked anew each time: the signed token in an older answer may have expired.
        try:
            async with asyncio.timeout(bound.total_seconds()):
                for pause in pauses():
                    self._raise_if_ended(await self.refresh())
                    if self.state is SessionState.RUNNING:
                        return
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise WaitTimedOut(f"session {self.id} is still {self.state}", reason="WAIT_TIMED_OUT") from None

    def _raise_if_ended(self, session: "Session") -> None:
        if session.state.final or session.state is SessionState.CLOSING:
            raise ended(session)

    async def _artifacts(
        self, kind: "artifact_pb2.Artifact.Kind.ValueType", wait: Span | None, at_least: int
    ) -> list[Artifact]:
        if wait is None:
            return [artifact async for artifact in self._listed(kind)]
        bound = to_timedelta(wait)
        found: list[Artifact] = []
        try:
            async with asyncio.timeout(bound.total_seconds()):
                for pause in pauses():
                    found = [artifact async for artifact in self._listed(kind)]
                    if len(found) >= at_least and all(artifact.state.final for artifact in found):
                        break
                    await asyncio.sleep(pause)
        except TimeoutError:
            pending = sum(not artifact.state.final for artifact in found)
            raise WaitTimedOut(
                f"session {self.id} has {len(found)} of {at_least} artifacts, {pending} of them not complete, "
                f"after {bound.total_seconds():g} s",
                reason="WAIT_TIMED_OUT",
            ) from None
        return found

    async def _listed(self, kind: "artifact_pb2.Artifact.Kind.ValueType") -> AsyncIterator[Artifact]:
        reach = self._reach
        async for message in reach.front_door.artifacts(self.id, kind):
            yield Artifact(message, front_door=reach.front_door, http=reach.http, retries=reach.retries)


def ended(session: Session) -> SessionEnded:
    """Return the error that says how the session ended."""
    reason = session.close_reason or CloseReason.UNSPECIFIED
    return SessionEnded(
        session.close_message or f"session {session.id} has ended: {reason}",
        close_reason=reason,
        at=session.end_time,
        state=session.state,
    )


async def _detach(browser: "Browser") -> None:
    from playwright.async_api import Error

    # A connection that is gone, or a driver that hangs, is as good as detached.
    with contextlib.suppress(Error, TimeoutError):
        async with asyncio.timeout(_DETACH_TIMEOUT.total_seconds()):
            await browser.close()


def _instant(message: session_pb2.Session, field: str, timestamp: Timestamp) -> datetime | None:
    # The name of a field of Session: unset is None, not 1970.
    return timestamp.ToDatetime(tzinfo=UTC) if message.HasField(field) else None  # type: ignore[arg-type]  # a str here
