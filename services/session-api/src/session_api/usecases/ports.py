"""What the use cases need from the outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from fleetkit.paging import Page, PageRequest
from session_api.domain.browser import BrowserFacts, BrowserType
from session_api.domain.caller import ApiKey, Caller
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import KeyId, NodeId, OrganizationId, SessionId
from session_api.domain.node import NewNode, Node, NodeReport, NodeState, Registration
from session_api.domain.organization import Consumption, Organization
from session_api.domain.queue import Share, Waiting
from session_api.domain.session import Allocation, Session, SessionState
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.queries import SessionQuery, UsageQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What a create looks at first, in one go."""

    now: datetime
    # The session that the create's idempotency key made before.
    existing: Session | None
    # Whether sessions wait for a slot of this kind of browser.
    has_queue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Sessions that changed, each with its latest state, and the position up to which they are complete."""

    sessions: list[Session]
    position: int


class SessionRepository(Protocol):
    """Sessions, all of them, for ever."""

    async def intake(self, organization_id: OrganizationId, request_id: str, browser_type: BrowserType) -> Intake:
        """Return what a create looks at first; an empty `request_id` finds nothing."""
        ...

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        """Return a session, of that organization only where one is given. Raises SessionNotFound."""
        ...

    async def read(self, session_id: SessionId) -> tuple[Session, datetime]:
        """Return a session, and the instant when it was so; others may change it at once. Raises SessionNotFound."""
        ...

    async def lock(self, session_id: SessionId) -> tuple[Session, datetime]:
        """Return a session that nobody else changes before this transaction ends, and the instant when it was locked.

        Raises SessionNotFound.
        """
        ...

    async def add(self, session: Session) -> None:
        """Store a new session. Raises SessionExists when its ID or its idempotency key is taken."""
        ...

    async def add_placed(self, session: Session, node: Node, *, now: datetime) -> bool:
        """Take a slot of a node, store a new session that has it, and announce that it was created, in one statement.

        Nothing of that happens, and the answer is False, when the node has no slot. Raises SessionExists as `add` does.
        """
        ...

    async def save_started(self, session: Session, *, now: datetime) -> None:
        """Store a session that is up, announce it and schedule its countdown, in one statement. Raises as `save` does."""
        ...

    async def save(self, session: Session) -> None:
        """Store the next value of a session. Raises SessionChanged when its revision is not the stored one."""
        ...

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        """Return one page in the query's order. What browsers reported about options is left out."""
        ...

    async def on_node(self, node_id: NodeId) -> list[Session]:
        """Return every session of a node's present registration that has not ended."""
        ...

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        """Return unfinished sessions whose node is lost, or has registered anew since they were allocated."""
        ...

    async def on_drained_nodes(self, *, limit: int) -> list[SessionId]:
        """Return sessions that are starting or running on nodes whose drain is due."""
        ...

    async def record_activity(self, report: NodeReport, *, now: datetime) -> None:
        """Store the clients, viewers and activity of what a node runs, where they changed."""
        ...

    async def position(self) -> int:
        """Return a position in the changes of all sessions: everything that is committed now lies before it."""
        ...

    async def changes(self, *, since: int) -> Changes:
        """Return every session that changed at this position or after it, without what browsers reported about options.

        Raises ResumeTokenExpired for a position that this database has not reached: it was restored from a backup.
        """
        ...


class SessionExists(Exception):
    """The ID or the idempotency key is taken."""


class SessionQueue(Protocol):
    """The queued sessions of the fleet."""

    async def waiting(self, *, limit: int) -> list[Waiting]:
        """Return, of each organization, the `limit` oldest queued sessions of each need."""
        ...

    async def shares(self, *, also: OrganizationId | None = None) -> dict[OrganizationId, Share]:
        """Return the part of the fleet of each organization that has queued sessions, and of `also`."""
        ...

    async def size(self) -> int:
        """Return how many sessions wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSession:
    """What a heartbeat's answer needs to know of a session that the node holds."""

    session_id: SessionId
    epoch: int
    state: SessionState
    state_time: datetime
    timeout: timedelta
    expire_time: datetime | None
    client_count: int
    viewer_count: int
    has_idle_timeout: bool
    # Of the control lease that a person holds; 0: nobody does.
    control_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat that counts: when it was taken, and every unfinished session of the registration."""

    now: datetime
    held: list[HeldSession]


class NodeRepository(Protocol):
    """Nodes, by name and by ID."""

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        """Begin a registration; a known name keeps its node ID and stays cordoned. All slots are free afterwards.

        Raises NodeNameTaken when the name is another owner's.
        """
        ...

    async def get(self, node_id: NodeId) -> Node:
        """Return a node. Raises NodeNotFound."""
        ...

    async def lock(self, node_id: NodeId) -> Node:
        """Return a node that nobody else changes before this transaction ends. Raises NodeNotFound."""
        ...

    async def save(self, node: Node) -> None:
        """Store what operators decided about a locked node: cordon and drain."""
        ...

    async def all(self) -> list[Node]:
        """Return every node."""
        ...

    async def page(self, states: Sequence[NodeState], page: PageRequest) -> Page[Node]:
        """Return one page of nodes in any of these states (empty: in every one), by ID."""
        ...

    async def take_slot(self, node: Node) -> bool:
        """Take a slot of an ACTIVE node in this registration; False when there is none left."""
        ...

    async def release_slot(self, allocation: Allocation) -> None:
        """Give a slot back; nothing happens when the node has registered anew since."""
        ...

    async def beat(self, report: NodeReport) -> Beat | None:
        """Record a heartbeat; None when its registration is not the node's present one, or was given up.

        One statement: it may stand alone.
        """
        ...

    async def beats(self, reports: Sequence[NodeReport]) -> dict[NodeId, Beat | None]:
        """Record heartbeats of different nodes as `beat` does, in one statement that waits for nobody: a node that
        another transaction is changing is missing in the answer.
        """
        ...

    async def watch(self, *, now: datetime, longest_gap: timedelta) -> datetime:
        """Note that somebody looks for silent nodes, and return since when this was done without a longer gap."""
        ...

    async def give_up(self, *, silent_since: datetime) -> list[Node]:
        """Mark every node as lost whose last heartbeat is older; return those that were not before."""
        ...


class Outbox(Protocol):
    """News that leave after the transaction, if it commits."""

    async def announce(self, session: Session, *, what: str, now: datetime) -> None:
        """Publish what happened to a session."""
        ...

    async def announce_node(self, node: Node, *, what: str, now: datetime) -> None:
        """Publish what happened to a node."""
        ...

    async def schedule(self, session: Session) -> None:
        """Have the next instant of a running session's countdown announced at its time, in place of an earlier one."""
        ...

    async def cancel_schedule(self, session_id: SessionId) -> None:
        """Have nothing announced any more."""
        ...


class OrganizationRepository(Protocol):
    """Organizations, and what they have used."""

    async def get(self, organization_id: OrganizationId) -> Organization:
        """Return an organization. Raises OrganizationNotFound."""
        ...

    async def add(self, organization: Organization) -> bool:
        """Store a new organization; False when the ID is taken."""
        ...

    async def save(self, organization: Organization) -> None:
        """Store limits and weight. Raises OrganizationNotFound."""
        ...

    async def page(self, page: PageRequest) -> Page[Organization]:
        """Return one page, by ID."""
        ...

    async def lock_consumption(self, organization_id: OrganizationId, *, now: datetime) -> Consumption:
        """Return what an organization has used; nobody else counts it before this transaction ends."""
        ...


class KeyRepository(Protocol):
    """API keys, found by the digest of their secret."""

    async def caller(self, digest: bytes) -> Caller | None:
        """Return whom a key that is good now belongs to, and note its use, to the minute."""
        ...

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Store a key of an organization that exists."""
        ...

    async def get(self, key_id: KeyId) -> ApiKey:
        """Return a key. Raises ApiKeyNotFound."""
        ...

    async def save(self, key: ApiKey) -> None:
        """Store the end of a key."""
        ...

    async def page(self, organization_id: OrganizationId, page: PageRequest) -> Page[ApiKey]:
        """Return one page, newest first."""
        ...


class UsageRepository(Protocol):
    """Usage records: each is written once."""

    async def add(self, record: UsageRecord) -> None:
        """Store a record; a second one for the same session and epoch changes nothing."""
        ...

    async def page(self, query: UsageQuery, page: PageRequest) -> Page[UsageRecord]:
        """Return one page by the end of the sessions, oldest first."""
        ...

    async def totals(self, query: UsageQuery, *, label: str) -> list[UsageTotal]:
        """Return sums by organization, and by the value of a label unless `label` is empty."""
        ...


class Transaction(Protocol):
    """One database transaction."""

    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def queue(self) -> SessionQueue: ...
    @property
    def nodes(self) -> NodeRepository: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def organizations(self) -> OrganizationRepository: ...
    @property
    def keys(self) -> KeyRepository: ...
    @property
    def usage(self) -> UsageRepository: ...

    async def now(self) -> datetime:
        """Return the database's present instant: the one clock that deadlines go by."""
        ...


class Database(Protocol):
    """Access to the `fleet` schema."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Within the block everything is committed together at its end, and rolled back when it raises."""
        ...

    def single(self) -> AbstractAsyncContextManager[Transaction]:
        """For one statement, which needs no transaction around it; each statement is committed by itself."""
        ...


class NodeGateway(Protocol):
    """The browser-nodes. Every call is idempotent and ends within seconds."""

    async def start_browser(self, session: Session) -> BrowserFacts:
        """Start, or find, the browser of an allocated session.

        Raises BrowserStartFailed, NodeUnavailable; OptionUnavailable, ProxyUnreachable or InvalidArgument for an option
        that the node finds wrong.
        """
        ...

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        """End the browser of a session. Raises NodeUnavailable."""
        ...

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        """Move the node's own deadline for a session. Raises NodeUnavailable."""
        ...

    async def set_control(self, session: Session, *, generation: int, held: bool) -> None:
        """Say that a person has taken control of a session, or that this control has ended. Raises NodeUnavailable."""
        ...


class Wakeups(Protocol):
    """Tells a loop that there is something to do."""

    def set(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bells:
    """Whom a change wakes: whoever relays the outbox, and whoever gives away free slots."""

    relay: Wakeups
    queue: Wakeups = field(repr=False)
