"""Transactions whose statements interleave, as Postgres has it under READ COMMITTED.

A statement sees what is committed when it begins, and its own transaction's changes. Rows that it locks stay locked
until the end of the transaction; whoever wants them waits.
"""

from collections.abc import Awaitable, Callable, ItemsView, Iterable, Iterator, Sequence, ValuesView
from datetime import datetime
from typing import Any, TypeVar, cast

from session_api.domain.node import NewNode, Node, NodeReport, NodeState, Registration
from session_api.domain.session import Allocation, Session
from session_api.usecases.ports import (
    KeyRepository,
    NodeRepository,
    OrganizationRepository,
    Outbox,
    SessionQueue,
    SessionRepository,
    UsageRepository,
)
from tests.simulation.clocks import DatabaseClock
from tests.simulation.locks import Lock, Locks, database_unavailable
from tests.support.fleet_memory import MemoryTransaction
from tests.support.fleet_memory.tables import Table, Tables

K = TypeVar("K")
V = TypeVar("V")


class Overlay(Table[K, V]):
    """A table as one transaction sees it: what is committed, under its own changes."""

    def __init__(self, base: Table[K, V]) -> None:
        super().__init__()
        self._base = base
        self.own: dict[K, V] = {}

    def __setitem__(self, key: K, row: V) -> None:
        self.own[key] = row

    def __getitem__(self, key: K) -> V:
        return self.own[key] if key in self.own else self._base[key]

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self._base

    def __iter__(self) -> Iterator[K]:
        return iter(self._merged())

    def __len__(self) -> int:
        return len(self._merged())

    def get(self, key: K, default: Any = None) -> Any:  # Any: dict's own overloads
        return self.own[key] if key in self.own else self._base.get(key, default)

    def values(self) -> ValuesView[V]:  # type: ignore[override]  # dict's own views cannot be made of two dicts
        return self._merged().values()

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]  # see values
        return self._merged().items()

    def apply(self) -> None:
        """Make the changes those of the table itself."""
        for key, row in self.own.items():
            self._base[key] = row

    def _merged(self) -> dict[K, V]:
        return {**self._base, **self.own} if self.own else cast("dict[K, V]", self._base)


class OpenTransaction:
    """See Transaction. Each statement is a step of its own: `come` brings it to the database, or raises."""

    def __init__(
        self,
        *,
        committed: Tables,
        clock: DatabaseClock,
        locks: Locks,
        numbers: "Numbers",
        come: Callable[[], Awaitable[None]],
        is_stopped: Callable[[], bool],
    ) -> None:
        self.waits_for: Lock | None = None
        self.is_stopped = is_stopped
        self.ended = False
        self.tables = Tables(
            sessions=Overlay(committed.sessions),
            nodes=Overlay(committed.nodes),
            watch=Overlay(committed.watch),
            organizations=Overlay(committed.organizations),
            keys=Overlay(committed.keys),
            usage=Overlay(committed.usage),
        )
        self._committed = committed
        self._clock = clock
        self._locks = locks
        self._numbers = numbers
        self._number: int | None = None
        self._come = come
        self._inner = MemoryTransaction(self.tables, clock)

    # The casts tell the truth: each has the methods of what it stands before. None is kept: that would be a cycle.

    @property
    def sessions(self) -> SessionRepository:
        locks = {**_SESSION_LOCKS, "add_placed": self._placing}
        return cast("SessionRepository", _Statements(self, self._inner.sessions, locks))

    @property
    def queue(self) -> SessionQueue:
        return cast("SessionQueue", _Statements(self, self._inner.queue, {}))

    @property
    def nodes(self) -> NodeRepository:
        locks = {
            **_NODE_LOCKS,
            "take_slot": self._with_room,
            "release_slot": self._with_slot,
            "beat": self._beating,
            "give_up": self._silent,
            "register": self._of_that_name,
        }
        return cast("NodeRepository", _NodeStatements(self, self._inner.nodes, locks))

    @property
    def outbox(self) -> Outbox:
        return cast("Outbox", _Statements(self, self._inner.outbox, {}))

    @property
    def organizations(self) -> OrganizationRepository:
        return cast("OrganizationRepository", _Statements(self, self._inner.organizations, ORGANIZATION_LOCKS))

    @property
    def keys(self) -> KeyRepository:
        return cast("KeyRepository", _Statements(self, self._inner.keys, {}))

    @property
    def usage(self) -> UsageRepository:
        return cast("UsageRepository", _Statements(self, self._inner.usage, {}))

    async def now(self) -> datetime:
        await self.begin_statement("now", [])
        return self._clock.now()

    async def begin_statement(self, name: str, locks: Iterable[Lock]) -> None:
        """Come to the database, and wait for what a statement locks. Raises DatabaseUnavailable."""
        await self._come()
        for lock in locks:
            await self._locks.take(self, lock)
        if self.ended:
            raise database_unavailable()
        # What reads positions sees up to where everything is complete; what writes leaves its own number.
        if name in _READING_POSITIONS:
            self.tables.transaction = self._numbers.complete()
        elif name in _NUMBERED:
            if self._number is None:
                self._number = self._numbers.begin()
            self.tables.transaction = self._number

    async def lock_free(self, lock: Lock) -> bool:
        """Take a lock that no other transaction has, and tell (SKIP LOCKED)."""
        if not self._locks.is_free(self, lock):
            return False
        await self._locks.take(self, lock)
        return True

    def apply(self) -> None:
        """Bring the changes into the committed tables."""
        tables = self.tables
        for table in (tables.sessions, tables.nodes, tables.watch, tables.organizations, tables.keys, tables.usage):
            cast("Overlay[object, object]", table).apply()
        self._committed.unsent.extend(tables.unsent)

    def end(self) -> None:
        """Let go of everything, committed or not."""
        self.ended = True
        self._locks.release(self)
        if self._number is not None:
            self._numbers.end(self._number)
            self._number = None

    # An UPDATE passes over rows that its condition does not match; one that it waited for stays locked all the same.

    def _with_room(self, node: Node) -> list[Lock]:
        row = self.tables.nodes[node.id]
        is_good = row.registration_id == node.registration_id and row.state is NodeState.ACTIVE and row.slots_free > 0
        return [("node", node.id)] if is_good else []

    def _placing(self, session: Session, node: Node, *, now: datetime) -> list[Lock]:
        return [*_of_request(session), *self._with_room(node)]

    def _with_slot(self, allocation: Allocation) -> list[Lock]:
        row = self.tables.nodes[allocation.node_id]
        is_good = row.registration_id == allocation.registration_id and row.slots_used > 0
        return [("node", row.id)] if is_good else []

    def _beating(self, report: NodeReport) -> list[Lock]:
        row = self.tables.nodes.get(report.node_id)
        is_good = row is not None and row.registration_id == report.registration_id and not row.is_lost
        return [("node", report.node_id)] if is_good else []

    def _silent(self, *, silent_since: datetime) -> list[Lock]:
        nodes = self._committed.nodes.values()
        return [("node", node.id) for node in nodes if not node.is_lost and node.heartbeat_time < silent_since]

    def _of_that_name(self, node: NewNode, *, ids: Registration, now: datetime) -> list[Lock]:
        known = [("node", row.id) for row in self._committed.nodes.values() if row.name == node.name]
        return [("name", node.name), *known]


class Numbers:
    """Numbers of transactions that write, in the order of their first write."""

    def __init__(self) -> None:
        self._next = 1
        self._running: list[int] = []

    def begin(self) -> int:
        number = self._next
        self._next += 1
        self._running.append(number)
        return number

    def end(self, number: int) -> None:
        self._running.remove(number)

    def complete(self) -> int:
        """Return a number below which no transaction runs any more."""
        return min(self._running, default=self._next)


class _Statements:
    """A repository whose methods are statements."""

    def __init__(
        self, transaction: OpenTransaction, inner: Any, locks: dict[str, Any]
    ) -> None:  # Any: one of the repositories; see _SESSION_LOCKS
        self._transaction = transaction
        self._inner = inner
        self._locks = locks

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method, locks_of = getattr(self._inner, name), self._locks.get(name, _no_locks)

        async def statement(*args: object, **kwargs: object) -> object:
            await self._transaction.begin_statement(name, locks_of(*args, **kwargs))
            return await method(*args, **kwargs)

        return statement


class _NodeStatements(_Statements):
    async def beats(self, reports: Sequence[NodeReport]) -> object:
        await self._transaction.begin_statement("beats", [])
        free = [report for report in reports if await self._transaction.lock_free(("node", report.node_id))]
        return await self._inner.beats(free)


def _no_locks(*args: object, **kwargs: object) -> list[Lock]:
    return []


def _of_session(session: Session) -> list[Lock]:
    return [("session", session.id)]


def _of_request(session: Session) -> list[Lock]:
    return [("request", session.organization_id, session.request_id)] if session.request_id else []


def _of_report(report: NodeReport, *, now: datetime) -> list[Lock]:
    return [("session", session_id) for session_id in sorted(browser.session_id for browser in report.running)]


# Any: each takes what the method of its name takes.
_SESSION_LOCKS: dict[str, Any] = {
    "lock": lambda session_id: [("session", session_id)],
    "save": _of_session,
    "save_started": lambda session, *, now: _of_session(session),
    "add": _of_request,
    "record_activity": _of_report,
}
_NODE_LOCKS: dict[str, Any] = {
    "lock": lambda node_id: [("node", node_id)],
    "save": lambda node: [("node", node.id)],
    "watch": lambda *, now, longest_gap: [("watch",)],
}
ORGANIZATION_LOCKS: dict[str, Any] = {
    "lock_consumption": lambda organization_id, *, now: [("organization", organization_id)],
    "save": lambda organization: [("organization", organization.id)],
}
_READING_POSITIONS = frozenset({"position", "changes"})
# Names that other repositories have too: a number too many does no harm.
_NUMBERED = frozenset({"save", "save_started", "add", "add_placed", "record_activity"})
