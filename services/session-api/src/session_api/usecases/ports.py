"""What the use cases need from the outside."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from fleetkit.paging import Page, PageRequest
from session_api.domain.caller import Caller, Scope
from session_api.domain.node import NewNode, Node, Registration, RunningBrowser
from session_api.domain.session import (
    Allocation,
    BrowserFacts,
    CloseReason,
    NodeId,
    OrganizationId,
    Session,
    SessionId,
    SessionState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """Which sessions to list; None does not narrow."""

    organization_id: OrganizationId | None = None
    states: tuple[SessionState, ...] = ()
    expire_before: datetime | None = None
    node_id: NodeId | None = None


class SessionRepository(Protocol):
    """Sessions, all of them, for ever."""

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        """Return a session, of that organization only where one is given. Raises SessionNotFound."""
        ...

    async def lock(self, session_id: SessionId) -> Session:
        """Return a session that nobody else changes before this transaction ends. Raises SessionNotFound."""
        ...

    async def by_request(self, organization_id: OrganizationId, request_id: str) -> Session | None:
        """Return the session that an idempotency key made."""
        ...

    async def add(self, session: Session) -> None:
        """Store a new session. Raises SessionExists when its ID or its idempotency key is taken."""
        ...

    async def save(self, session: Session) -> None:
        """Store the next value of a session. Raises SessionChanged when its revision is not the stored one."""
        ...

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        """Return one page, newest first."""
        ...

    async def unfinished_of(self, node_id: NodeId) -> list[Session]:
        """Return every session of a node's present registration that has not ended."""
        ...

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        """Return unfinished sessions whose node is lost, or has registered anew since they were allocated."""
        ...

    async def stuck(self, state: SessionState, *, since: datetime, limit: int) -> list[SessionId]:
        """Return sessions that entered `state` before `since` and are still in it."""
        ...

    async def record_clients(self, node_id: NodeId, running: list[RunningBrowser]) -> None:
        """Store how many clients each running session of a node has."""
        ...


class SessionExists(Exception):
    """The ID or the idempotency key is taken."""


class NodeRepository(Protocol):
    """Nodes, by name and by ID."""

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        """Begin a registration; a known name keeps its node ID. All slots are free afterwards."""
        ...

    async def get(self, node_id: NodeId) -> Node | None:
        """Return a node."""
        ...

    async def all(self) -> list[Node]:
        """Return every node."""
        ...

    async def take_slot(self, node: Node) -> bool:
        """Take a slot of an ACTIVE node in this registration; False when there is none left."""
        ...

    async def release_slot(self, allocation: Allocation) -> None:
        """Give a slot back; nothing happens when the node has registered anew since."""
        ...

    async def beat(self, node_id: NodeId, registration_id: str, *, draining: bool, now: datetime) -> bool:
        """Record a heartbeat; False when the registration is not the node's present one, or was given up."""
        ...

    async def give_up(self, *, silent_since: datetime) -> list[NodeId]:
        """Mark every node as LOST whose last heartbeat is older; return those that were not before."""
        ...


class Outbox(Protocol):
    """News that leave after the transaction, if it commits."""

    async def announce(self, session: Session, *, what: str, now: datetime) -> None:
        """Publish what happened to a session."""
        ...

    async def schedule_deadline(self, session: Session) -> None:
        """Have the session's deadline announced at its time, in place of an earlier one."""
        ...

    async def cancel_deadline(self, session_id: SessionId) -> None:
        """Have no deadline announced any more."""
        ...


class KeyRepository(Protocol):
    """Organizations and their API keys."""

    async def caller(self, digest: bytes) -> Caller | None:
        """Return whom a key that is not revoked belongs to."""
        ...

    async def add(
        self, digest: bytes, *, organization_id: OrganizationId, scope: Scope, max_timeout: timedelta | None
    ) -> None:
        """Store a key; make its organization where there is none, and set its cap where one is given."""
        ...


class Transaction(Protocol):
    """One database transaction."""

    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def nodes(self) -> NodeRepository: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def keys(self) -> KeyRepository: ...

    async def now(self) -> datetime:
        """Return the database's present instant: the one clock that deadlines go by."""
        ...


class Database(Protocol):
    """Transactions: committed at the end of the block, rolled back when it raises."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...


class NodeGateway(Protocol):
    """The browser-nodes. Every call is idempotent and ends within seconds."""

    async def start_browser(self, session: Session) -> BrowserFacts:
        """Start, or find, the browser of an allocated session. Raises BrowserStartFailed, NodeUnavailable."""
        ...

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        """End the browser of a session. Raises NodeUnavailable."""
        ...

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        """Move the node's own deadline for a session. Raises NodeUnavailable."""
        ...


class Wakeups(Protocol):
    """Tells whoever relays the outbox that there is something in it."""

    def set(self) -> None: ...
