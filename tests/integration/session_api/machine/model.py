"""What the fleet should be like, in plain Python: one step after the other, time in whole seconds."""

from dataclasses import dataclass, field

from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import NodeState
from session_api.domain.session import SessionState

LEASE = 15
_START_TIMEOUT = 60
_STOP_TIMEOUT = 30
# A look for silent nodes counts as one of a row of looks when it comes within so long of the last one.
_LONGEST_BREAK = 6
_REPORT_MAY_BE_OLD = 15
_NO_FAULT = {CloseReason.USER_REQUESTED, CloseReason.TIMED_OUT, CloseReason.IDLE, CloseReason.NODE_DRAINED}


@dataclass(slots=True, kw_only=True, eq=False)
class ModelOrganization:
    """`most_open` None: no bound."""

    id: OrganizationId
    weight: int
    most_open: int | None = None


@dataclass(slots=True, kw_only=True)
class ModelLease:
    """An occupancy, or control: who has it, which one it is, until when."""

    holder: str
    generation: int
    until: int | None

    def is_over(self, now: int) -> bool:
        return self.until is not None and now >= self.until


@dataclass(slots=True, kw_only=True, eq=False)
class ModelNode:
    """A node in its present registration, and those before."""

    id: NodeId
    slots: int
    registrations: list[str]
    beat: int
    is_cordoned: bool = False
    is_lost: bool = False
    is_stopping: bool = False
    drain: int | None = None

    @property
    def state(self) -> NodeState:
        if self.is_lost:
            return NodeState.LOST
        if self.is_stopping or self.drain is not None:
            return NodeState.DRAINING
        return NodeState.CORDONED if self.is_cordoned else NodeState.ACTIVE


@dataclass(slots=True, kw_only=True, eq=False)
class ModelSession:
    """A session. Its leases stay when their time is over, until somebody notices."""

    id: SessionId
    organization: ModelOrganization
    key: tuple[str, str]
    state: SessionState
    state_since: int
    timeout: int
    idle_timeout: int | None
    queue_until: int
    node: ModelNode | None = None
    deadline: int | None = None
    active: int = 0
    reason: CloseReason | None = None
    occupancy: ModelLease | None = None
    control: ModelLease | None = None
    holdings: int = 0
    controls: int = 0

    @property
    def is_running(self) -> bool:
        return self.state is SessionState.RUNNING

    def move(self, state: SessionState, now: int) -> None:
        self.state, self.state_since = state, now

    def start(self, now: int) -> None:
        self.move(SessionState.RUNNING, now)
        self.deadline, self.active = now + self.timeout, now

    def begin_close(self, reason: CloseReason, now: int) -> None:
        if self.state in {SessionState.STARTING, SessionState.RUNNING}:
            self.move(SessionState.CLOSING, now)
            self.reason = reason

    def end(self, reason: CloseReason, now: int) -> None:
        if self.state.is_final:
            return
        self.reason = self.reason or reason
        self.move(SessionState.CLOSED if self.reason in _NO_FAULT else SessionState.FAILED, now)
        self.occupancy = self.control = None

    def drop_a_lease_that_is_over(self, now: int) -> None:
        """One at a time, the occupancy first."""
        if self.occupancy is not None and self.occupancy.is_over(now):
            self.occupancy, self.active = None, now
        elif self.control is not None and self.control.is_over(now):
            self.control, self.active = None, now

    def is_due_to_end(self, now: int) -> bool:
        """Whether waiting, starting or stopping has taken too long."""
        match self.state:
            case SessionState.QUEUED:
                return now >= self.queue_until
            case SessionState.STARTING:
                return now >= self.state_since + _START_TIMEOUT
            case SessionState.CLOSING:
                return now >= self.state_since + _STOP_TIMEOUT
            case _:
                return False

    def is_overdue(self, now: int) -> bool:
        return self.is_running and self.deadline is not None and now >= self.deadline

    def is_idle(self) -> bool:
        """Whether its node has said that nothing happened for too long."""
        if not self.is_running or self.idle_timeout is None or self.node is None or self.occupancy or self.control:
            return False
        return self.node.beat >= self.active + self.idle_timeout

    def is_missing(self, now: int) -> bool:
        """Whether a report that does not know its browser means that there is none."""
        return self.is_running and now - self.state_since > _REPORT_MAY_BE_OLD


@dataclass(slots=True)
class Model:
    """The whole fleet."""

    organizations: list[ModelOrganization]
    now: int = 0
    nodes: dict[str, ModelNode] = field(default_factory=dict)
    sessions: dict[SessionId, ModelSession] = field(default_factory=dict)
    # Since when, and when last, somebody looked for silent nodes.
    watch_since: int = 0
    watch_seen: int | None = None

    def held(self, node: ModelNode) -> list[ModelSession]:
        return [session for session in self.sessions.values() if session.node is node and session.state.holds_slot]

    def free(self, node: ModelNode) -> int:
        return node.slots - len(self.held(node)) if node.state is NodeState.ACTIVE else 0

    def free_nodes(self) -> list[ModelNode]:
        return [node for node in self.nodes.values() if self.free(node) > 0]

    def has_capable_node(self) -> bool:
        return any(not node.is_lost for node in self.nodes.values())

    def by_key(self, organization: ModelOrganization, key: str) -> ModelSession | None:
        found = (s for s in self.sessions.values() if key and s.organization is organization and s.key[0] == key)
        return next(found, None)

    def open_sessions(self, organization: ModelOrganization) -> int:
        return sum(s.organization is organization and s.state.holds_slot for s in self.sessions.values())

    def may_open(self, organization: ModelOrganization, more: int = 1) -> bool:
        most = organization.most_open
        return most is None or self.open_sessions(organization) + more <= most

    def running(self) -> list[ModelSession]:
        return [session for session in self.sessions.values() if session.is_running]

    def queued(self) -> list[ModelSession]:
        return [session for session in self.sessions.values() if session.state is SessionState.QUEUED]

    def turns(self, newcomer: ModelOrganization | None = None) -> list[ModelSession | None]:
        """Return whose turn it is for the slots that are free, fewest slots for its weight first; None: a newcomer's."""
        waiting: list[tuple[ModelSession | None, ModelOrganization]] = [(s, s.organization) for s in self.queued()]
        if newcomer is not None:
            waiting.append((None, newcomer))
        held = {organization.id: self.open_sessions(organization) for organization in self.organizations}
        ranks = dict(held)
        order = []
        for place, (session, organization) in enumerate(waiting):
            order.append((ranks[organization.id] / organization.weight, place, session, organization))
            ranks[organization.id] += 1
        room = sum(self.free(node) for node in self.nodes.values())
        served: list[ModelSession | None] = []
        for _, _, session, organization in sorted(order, key=lambda entry: entry[:2]):
            most = organization.most_open
            if len(served) < room and (most is None or held[organization.id] < most):
                held[organization.id] += 1
                served.append(session)
        return served

    def look_for_silent_nodes(self) -> None:
        """Give up the nodes that were silent for longer than their lease while somebody looked all the time."""
        if self.watch_seen is None or self.now - self.watch_seen > _LONGEST_BREAK:
            self.watch_since = self.now
        self.watch_seen = self.now
        if self.now - self.watch_since < LEASE:
            return
        for node in self.nodes.values():
            if node.beat < self.now - LEASE and not node.is_lost:
                node.is_lost = True
                self.lose(node)

    def lose(self, node: ModelNode) -> None:
        for session in self.held(node):
            session.end(CloseReason.NODE_LOST, self.now)

    def close_drained(self) -> None:
        for node in self.nodes.values():
            if node.drain is not None and node.drain <= self.now:
                for session in self.held(node):
                    if session.state is not SessionState.CLOSING:
                        session.end(CloseReason.NODE_DRAINED, self.now)
