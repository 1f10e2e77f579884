"""What the database in memory holds, and how it goes back to what it held before."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from fleetkit.paging import Page, PageRequest
from session_api.domain.caller import ApiKey
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node
from session_api.domain.organization import Organization
from session_api.domain.session import Session
from session_api.domain.usage import UsageRecord

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A message of the outbox: what is to be done (PUBLISH or PURGE), on which subject, and what it tells of.

    An event carries its session or node as it was announced; a schedule carries its session and the instant.
    """

    action: str
    subject: str
    session: Session | None = None
    node: Node | None = None
    due_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session, the hint when something is due for it, and the number of the transaction that wrote it last."""

    session: Session
    due_time: datetime | None
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Since when somebody has looked for silent nodes, and when last."""

    since: datetime
    seen: datetime


class _Undoable(Protocol):
    def commit(self) -> None: ...
    def roll_back(self) -> None: ...


class Table(dict[K, V]):
    """Rows by key, in the order of their making. None is ever taken out, but by rolling back."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[K, V | None] = {}

    def __setitem__(self, key: K, row: V) -> None:
        self._before.setdefault(key, self.get(key))
        super().__setitem__(key, row)

    def commit(self) -> None:
        self._before.clear()

    def roll_back(self) -> None:
        for key, row in self._before.items():
            if row is None:
                del self[key]
            else:
                super().__setitem__(key, row)
        self._before.clear()

    def put(self, key: K, row: V) -> None:
        """Store a row for good, whatever becomes of a transaction that is still running."""
        super().__setitem__(key, row)
        if key in self._before:
            self._before[key] = row

    def committed(self) -> Mapping[K, V]:
        """Return the rows without what a transaction that is still running did to them."""
        if not self._before:
            return self
        rows = ((key, self._before.get(key, row)) for key, row in self.items())
        return {key: row for key, row in rows if row is not None}


@dataclass(slots=True, kw_only=True)
class Tables:
    """All rows. `transaction` is the number of the present transaction, or of the next one."""

    transaction: int = 1
    sessions: Table[SessionId, SessionRow] = field(default_factory=Table)
    nodes: Table[NodeId, Node] = field(default_factory=Table)
    # Whose a node's name is.
    owners: Table[NodeId, OrganizationId] = field(default_factory=Table)
    watch: Table[bool, Watch] = field(default_factory=Table)
    organizations: Table[OrganizationId, Organization] = field(default_factory=Table)
    # By the digest of the secret.
    keys: Table[bytes, ApiKey] = field(default_factory=Table)
    # By session and epoch.
    usage: Table[tuple[SessionId, int], UsageRecord] = field(default_factory=Table)
    outbox: list[News] = field(default_factory=list)
    # What the present transaction has announced so far.
    unsent: list[News] = field(default_factory=list)

    def commit(self) -> None:
        for table in self._tables:
            table.commit()
        self.outbox.extend(self.unsent)
        self.unsent.clear()
        self.transaction += 1

    def roll_back(self) -> None:
        for table in self._tables:
            table.roll_back()
        self.unsent.clear()

    def organization(self, organization_id: OrganizationId) -> Organization:
        """Return an organization; one that nobody added, as tests of other things do, has no limits."""
        return self.organizations.get(organization_id, Organization(id=organization_id))

    def held_by(self, node_id: NodeId) -> list[Session]:
        """Return every session of a node's present registration that has not ended, by ID."""
        node = self.nodes.get(node_id)
        wanted = (node.id, node.registration_id) if node else None
        found = [
            row.session
            for row in self.sessions.values()
            if not row.session.state.is_final
            and row.session.allocation is not None
            and (row.session.allocation.node_id, row.session.allocation.registration_id) == wanted
        ]
        return sorted(found, key=lambda session: session.id)

    @property
    def _tables(self) -> tuple[_Undoable, ...]:
        return (self.sessions, self.nodes, self.owners, self.watch, self.organizations, self.keys, self.usage)


def page_of(rows: Iterable[V], page: PageRequest, *, key: Callable[[V], str]) -> Page[V]:
    """Return one page of rows that are in order and lie behind the page before."""
    found = list(rows)
    items = found[: page.size]
    return Page(items=items, next_after=key(items[-1]) if len(found) > page.size else None)
