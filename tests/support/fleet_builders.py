"""Valid values of session-api, a clock that tests step, and nodes that do as they are told."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fleetkit.ids import RandomIds
from session_api.domain.caller import Caller, Scope
from session_api.domain.errors import NodeUnavailable
from session_api.domain.node import EndedBrowser, NewNode, Node, NodeReport, NodeState, Registration, RunningBrowser
from session_api.domain.session import (
    Allocation,
    BrowserFacts,
    BrowserSpec,
    BrowserType,
    CloseReason,
    NodeId,
    OrganizationId,
    Session,
    SessionId,
    SessionState,
)

ORGANIZATION = OrganizationId("o_acme")
OTHER_ORGANIZATION = OrganizationId("o_other")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FACTS = BrowserFacts(product="Chrome/150.0", user_agent="Mozilla/5.0 Chrome/150", warm=False, sandboxed=True)


class SteppedClock:
    """A Clock that stands still until it is stepped."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def step(self, by: timedelta) -> None:
        self._now += by
        self._monotonic += by.total_seconds()


class Bell:
    """A Wakeups that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def set(self) -> None:
        self.rung += 1


class FakeNodes:
    """A NodeGateway whose answers a test chooses; it keeps what it was asked."""

    def __init__(self) -> None:
        self.start_fails_with: Exception | None = None
        self.stop_fails_with: Exception | None = None
        self.silent_nodes: set[NodeId] = set()
        # Cleared by a test that holds starts or stops back.
        self.may_start = _set_event()
        self.may_stop = _set_event()
        self.starting = asyncio.Event()
        self.stopping = asyncio.Event()
        self.started: list[SessionId] = []
        self.stopped: list[tuple[SessionId, CloseReason]] = []
        self.deadlines: dict[SessionId, timedelta] = {}

    async def start_browser(self, session: Session) -> BrowserFacts:
        self.starting.set()
        await self.may_start.wait()
        if self.start_fails_with is not None:
            raise self.start_fails_with
        if session.allocation is not None and session.allocation.node_id in self.silent_nodes:
            raise NodeUnavailable("The node does not answer.")
        self.started.append(session.id)
        return FACTS

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        self.stopping.set()
        await self.may_stop.wait()
        if self.stop_fails_with is not None:
            raise self.stop_fails_with
        self.stopped.append((session.id, reason))

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        self.deadlines[session.id] = remaining


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def a_session_id() -> SessionId:
    return SessionId(RandomIds().new("pbs"))


def an_allocation(*, node_id: str = "nod_1", registration_id: str = "reg_1") -> Allocation:
    return Allocation(
        node_id=NodeId(node_id),
        registration_id=registration_id,
        node_address="127.0.0.1:1",
        attach_url="ws://127.0.0.1:1",
    )


def a_session(
    *,
    state: SessionState = SessionState.RUNNING,
    session_id: SessionId | None = None,
    organization_id: OrganizationId = ORGANIZATION,
    now: datetime = NOON,
    timeout: timedelta = timedelta(minutes=60),
    lifetime_limit: timedelta = timedelta(minutes=1440),
    allocation: Allocation | None = None,
    request_id: str = "",
    reason: CloseReason = CloseReason.USER_REQUESTED,
) -> Session:
    """Return a session that came into `state` at `now` in the way that sessions do."""
    session = Session(
        id=session_id or a_session_id(),
        organization_id=organization_id,
        state=SessionState.STARTING,
        spec=BrowserSpec(),
        timeout=timeout,
        lifetime_limit=lifetime_limit,
        create_time=now,
        state_time=now,
        request_id=request_id,
        sequence=1,
    ).allocated(allocation or an_allocation())
    if state is SessionState.QUEUED:
        return replace(session, state=SessionState.QUEUED, allocation=None, epoch=0)
    if state is SessionState.STARTING:
        return session
    if state is SessionState.FAILED:
        reason = reason if reason.is_fault else CloseReason.BROWSER_CRASHED
        return session.ended(now=now, reason=reason)
    running = session.started(now=now, browser=FACTS)
    if state is SessionState.RUNNING:
        return running
    closing = running.closing(now=now, reason=reason)
    return closing if state is SessionState.CLOSING else closing.ended(now=now, reason=reason)


def a_node(
    *,
    node_id: str = "nod_1",
    registration_id: str = "reg_1",
    state: NodeState = NodeState.ACTIVE,
    slots: int = 2,
    slots_used: int = 0,
    browsers: tuple[BrowserType, ...] = (BrowserType.CHROME,),
    heartbeat_time: datetime = NOON,
) -> Node:
    return Node(
        id=NodeId(node_id),
        name=f"name-of-{node_id.replace('_', '-')}",
        registration_id=registration_id,
        state=state,
        address="127.0.0.1:1",
        attach_url="ws://127.0.0.1:1",
        slots=slots,
        slots_used=slots_used,
        browsers=dict.fromkeys(browsers, "Chrome/150.0"),
        heartbeat_time=heartbeat_time,
    )


def a_new_node(
    *,
    name: str = "node-a",
    slots: int = 2,
    attach_url: str = "ws://127.0.0.1:1",
    browsers: tuple[BrowserType, ...] = (BrowserType.CHROME,),
) -> NewNode:
    return NewNode(
        name=name,
        address="127.0.0.1:1",
        attach_url=attach_url,
        slots=slots,
        browsers=dict.fromkeys(browsers, "Chrome/150.0"),
    )


def a_caller(
    *,
    organization_id: OrganizationId = ORGANIZATION,
    scope: Scope = Scope.MEMBER,
    max_timeout: timedelta | None = None,
) -> Caller:
    return Caller(organization_id=organization_id, scope=scope, max_timeout=max_timeout)


def a_report(
    registration: Registration,
    *,
    running: tuple[Session, ...] = (),
    ended: tuple[tuple[Session, CloseReason], ...] = (),
    clients: int = 0,
    draining: bool = False,
) -> NodeReport:
    return NodeReport(
        node_id=registration.node_id,
        registration_id=registration.registration_id,
        running=[RunningBrowser(session_id=row.id, epoch=row.epoch, client_count=clients) for row in running],
        ended=[
            EndedBrowser(session_id=row.id, epoch=row.epoch, close_reason=reason, message="It fell over.")
            for row, reason in ended
        ],
        draining=draining,
    )
