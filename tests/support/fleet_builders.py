"""Valid values of session-api, a clock that tests step, and nodes that do as they are told."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fleetkit.ids import RandomIds
from session_api.domain.browser import BrowserFacts, BrowserSpec, BrowserType
from session_api.domain.caller import Caller, Scope
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import NodeUnavailable
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import (
    EndedBrowser,
    NewNode,
    Node,
    NodeReport,
    NodeState,
    Pressure,
    Registration,
    RunningBrowser,
)
from session_api.domain.organization import Limits
from session_api.domain.session import Allocation, IdlePolicy, Session, SessionState

ORGANIZATION = OrganizationId("o_acme")
OTHER_ORGANIZATION = OrganizationId("o_other")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FACTS = BrowserFacts(product="Chrome/150.0", user_agent="Mozilla/5.0 Chrome/150", warm=False, sandboxed=True)

_ids = RandomIds()


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
        self.facts = FACTS
        # Who has control, as nodes were told: generations of leases, and whether they are held.
        self.controls: list[tuple[SessionId, int, bool]] = []
        self.control_fails_with: Exception | None = None

    async def start_browser(self, session: Session) -> BrowserFacts:
        self.starting.set()
        await self.may_start.wait()
        if self.start_fails_with is not None:
            raise self.start_fails_with
        if session.allocation is not None and session.allocation.node_id in self.silent_nodes:
            raise NodeUnavailable("The node does not answer.")
        self.started.append(session.id)
        return self.facts

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        self.stopping.set()
        await self.may_stop.wait()
        if self.stop_fails_with is not None:
            raise self.stop_fails_with
        self.stopped.append((session.id, reason))

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        self.deadlines[session.id] = remaining

    async def set_control(self, session: Session, *, generation: int, held: bool) -> None:
        if self.control_fails_with is not None:
            raise self.control_fails_with
        self.controls.append((session.id, generation, held))


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def a_session_id() -> SessionId:
    """Return an ID that sorts after those that were made before it."""
    return SessionId(_ids.new("pbs"))


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
    queue_timeout: timedelta = timedelta(minutes=5),
    browser_type: BrowserType = BrowserType.CHROME,
    spec: BrowserSpec | None = None,
    sealed_secrets: str = "",
    labels: Mapping[str, str] | None = None,
    idle: IdlePolicy | None = None,
    allocation: Allocation | None = None,
    request_id: str = "",
    reason: CloseReason = CloseReason.USER_REQUESTED,
) -> Session:
    """Return a session that came into `state` at `now` in the way that sessions do."""
    new = Session(
        id=session_id or a_session_id(),
        organization_id=organization_id,
        spec=spec or BrowserSpec(browser_type=browser_type),
        sealed_secrets=sealed_secrets,
        timeout=timeout,
        lifetime_limit=lifetime_limit,
        labels=labels or {},
        idle=idle,
        create_time=now,
        state_time=now,
        request_id=request_id,
    )
    if state is SessionState.QUEUED:
        return new.queued(until=now + queue_timeout)
    starting = new.placed(allocation or an_allocation(), now=now)
    if state is SessionState.STARTING:
        return starting
    if state is SessionState.FAILED:
        reason = reason if reason.is_fault else CloseReason.BROWSER_CRASHED
        return starting.ended(now=now, reason=reason)
    running = starting.started(now=now, browser=FACTS)
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
    drain_time: datetime | None = None,
    pressure: Pressure | None = None,
    capabilities: Capabilities | None = None,
    warm_browsers: int = 0,
) -> Node:
    """Return a node in `state`: DRAINING because it stops itself, unless there is a `drain_time`."""
    return Node(
        id=NodeId(node_id),
        name=f"name-of-{node_id.replace('_', '-')}",
        registration_id=registration_id,
        address="127.0.0.1:1",
        attach_url="ws://127.0.0.1:1",
        slots=slots,
        slots_used=slots_used,
        browsers=dict.fromkeys(browsers, "Chrome/150.0"),
        register_time=heartbeat_time,
        heartbeat_time=heartbeat_time,
        report_time=heartbeat_time,
        is_lost=state is NodeState.LOST,
        is_cordoned=state is NodeState.CORDONED or drain_time is not None,
        drain_time=drain_time,
        is_stopping=state is NodeState.DRAINING and drain_time is None,
        pressure=pressure,
        capabilities=capabilities or Capabilities(),
        warm_browsers=warm_browsers,
    )


def a_new_node(
    *,
    name: str = "node-a",
    slots: int = 2,
    attach_url: str = "ws://127.0.0.1:1",
    browsers: tuple[BrowserType, ...] = (BrowserType.CHROME,),
    owner_id: OrganizationId = ORGANIZATION,
    capabilities: Capabilities | None = None,
) -> NewNode:
    return NewNode(
        name=name,
        address="127.0.0.1:1",
        attach_url=attach_url,
        slots=slots,
        browsers=dict.fromkeys(browsers, "Chrome/150.0"),
        owner_id=owner_id,
        capabilities=capabilities or Capabilities(),
    )


def a_caller(
    *,
    organization_id: OrganizationId = ORGANIZATION,
    scope: Scope = Scope.MEMBER,
    limits: Limits | None = None,
) -> Caller:
    return Caller(organization_id=organization_id, scope=scope, limits=limits or Limits())


def a_report(
    registration: Registration,
    *,
    running: tuple[Session, ...] = (),
    ended: tuple[tuple[Session, CloseReason], ...] = (),
    clients: int = 0,
    viewers: int = 0,
    input_idle: timedelta | None = None,
    draining: bool = False,
    pressure: Pressure | None = None,
    warm_browsers: int = 0,
) -> NodeReport:
    return NodeReport(
        node_id=registration.node_id,
        registration_id=registration.registration_id,
        running=[
            RunningBrowser(
                session_id=row.id,
                epoch=row.epoch,
                client_count=clients,
                viewer_count=viewers,
                input_idle=input_idle,
            )
            for row in running
        ],
        ended=[
            EndedBrowser(session_id=row.id, epoch=row.epoch, close_reason=reason, message="It fell over.")
            for row, reason in ended
        ],
        draining=draining,
        pressure=pressure,
        warm_browsers=warm_browsers,
    )
