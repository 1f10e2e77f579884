"""The fleet's database: the tables in memory, what is committed in them, and who is told of it.

In some schedules a transaction is done at one instant, as if all others waited for it; in the others transactions
interleave, statement by statement.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node
from session_api.domain.organization import Organization
from session_api.domain.session import Session, SessionState
from session_api.domain.usage import UsageRecord
from tests.simulation.clocks import DatabaseClock
from tests.simulation.isolation import Numbers, OpenTransaction
from tests.simulation.locks import Locks, database_unavailable
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process
from tests.support.fleet_memory import MemoryTransaction, News
from tests.support.fleet_memory.tables import SessionRow, Table, Tables

K = TypeVar("K")
V = TypeVar("V")


class WatchedTable(Table[K, V]):
    """A table that can say what the present transaction changed."""

    def changes(self) -> list[tuple[V | None, V]]:
        """Return each changed row as it was and as it is."""
        return [(before, self[key]) for key, before in self._before.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a transaction did."""

    sessions: list[tuple[SessionRow | None, SessionRow]]
    nodes: list[tuple[Node | None, Node]]
    usage: list[tuple[UsageRecord | None, UsageRecord]]
    news: list[News]


@dataclass(slots=True, kw_only=True)
class DatabaseFaults:
    """How bad the connection is: shares of transactions, and the longest delay of one, in seconds."""

    fails: float = 0.0
    # Committed, and nobody is told.
    unknown: float = 0.0
    slow: float = 0.0
    slowest: float = 1.0
    # Half of the transactions are slow.
    is_very_slow: bool = False
    down: bool = False

    def mend(self) -> None:
        self.fails = self.unknown = self.slow = 0.0
        self.is_very_slow = self.down = False


class SimulatedDatabase:
    """What is committed, and who is told of each commit before it counts."""

    def __init__(
        self,
        loop: VirtualLoop,
        clock: DatabaseClock,
        chance: random.Random,
        faults: DatabaseFaults,
        *,
        interleaves: bool,
    ) -> None:
        # Whether transactions come statement by statement.
        self.interleaves = interleaves
        self._loop = loop
        self.pause = loop.pause
        self.clock = clock
        self.faults = faults
        self.draw = chance.random
        self.on_deadlock: Callable[[str], None] = lambda _: None
        self.on_commit: Callable[[Commit], None] = lambda _: None
        self._sessions: WatchedTable[SessionId, SessionRow] = WatchedTable()
        self._nodes: WatchedTable[NodeId, Node] = WatchedTable()
        self._usage: WatchedTable[tuple[SessionId, int], UsageRecord] = WatchedTable()
        self._tables = Tables(sessions=self._sessions, nodes=self._nodes, usage=self._usage)
        # It holds nothing of its own: one serves every transaction.
        self._transaction = MemoryTransaction(self._tables, clock)
        self._busy = False
        self.commits = 0
        # Sessions whose first commit was reported as failed.
        self.unknown: dict[SessionId, None] = {}
        self.queue_length = 0
        self._locks = Locks(loop, lambda message: self.on_deadlock(message))
        self._numbers = Numbers()
        self._sleepers: dict[asyncio.Event, tuple[Callable[[], bool], float]] = {}
        # Rows of the outbox that were relayed, from its beginning; and who relays now.
        self.relayed = 0
        self._relay: Process | None = None

    # ---- what is committed

    def sessions(self) -> list[Session]:
        return [row.session for row in self._sessions.values()]

    def session(self, session_id: SessionId) -> Session | None:
        row = self._sessions.get(session_id)
        return row.session if row is not None else None

    def nodes(self) -> list[Node]:
        return list(self._nodes.values())

    def node(self, node_id: NodeId) -> Node | None:
        return self._nodes.get(node_id)

    def organization(self, organization_id: OrganizationId) -> Organization:
        return self._tables.organizations[organization_id]

    def has_due(self) -> bool:
        """Whether a sweep would find anything."""
        now = self.clock.now()
        return any(
            row.due_time is not None and row.due_time < now and not row.session.state.is_final
            for row in self._sessions.values()
        )

    def usage_of(self, session_id: SessionId) -> list[UsageRecord]:
        return [record for record in self._usage.values() if record.session_id == session_id]

    @property
    def outbox(self) -> list[News]:
        return self._tables.outbox

    @property
    def outbox_length(self) -> int:
        return len(self._tables.outbox) - self.relayed

    def put_organization(self, organization: Organization) -> None:
        self._tables.organizations.put(organization.id, organization)

    def lock_relay(self, process: Process) -> bool:
        """Let one process relay. Who died or stands still has lost the lock with its connection."""
        holder = self._relay
        if holder is not None and holder is not process and holder.alive and not holder.paused:
            return False
        self._relay = process
        return True

    def forget_relayed(self, process: Process, count: int) -> None:
        """Forget the oldest rows of the outbox. Raises DatabaseUnavailable when somebody else relays by now."""
        if self._relay is not process or self.fails_to_commit():
            raise database_unavailable()
        self.relayed += count

    def unlock_relay(self, process: Process) -> None:
        if self._relay is process:
            self._relay = None

    def fails_to_commit(self) -> bool:
        return self.faults.fails > 0 and self.draw() < self.faults.fails

    def await_work(self, has_work: Callable[[], bool], bell: asyncio.Event, *, within: float) -> None:
        """Ring a bell when there is work, as late as whoever looks in intervals would notice."""
        self._sleepers[bell] = (has_work, within)

    # ---- transactions

    def open(self, come: Callable[[], Awaitable[None]], is_stopped: Callable[[], bool]) -> OpenTransaction:
        """Return a transaction whose statements come one by one."""
        return OpenTransaction(
            committed=self._tables,
            clock=self.clock,
            locks=self._locks,
            numbers=self._numbers,
            come=come,
            is_stopped=is_stopped,
        )

    def begin(self) -> MemoryTransaction:
        if self._busy:
            raise AssertionError("a transaction waits for something that is not the database")
        self._busy = True
        return self._transaction

    def roll_back(self) -> None:
        self._busy = False
        self._tables.roll_back()

    def commit(self) -> Commit:
        self._busy = False
        commit = Commit(
            sessions=self._sessions.changes(),
            nodes=self._nodes.changes(),
            usage=self._usage.changes(),
            news=list(self._tables.unsent),
        )
        self._tables.commit()
        self.commits += 1
        for before, after in commit.sessions:
            self.queue_length += _is_queued(after) - (before is not None and _is_queued(before))
        self.on_commit(commit)
        if self._sleepers and commit.news:
            self._wake()
        return commit

    def loses_answer(self, commit: Commit) -> bool:
        """Whether the client of a commit is told that it failed."""
        is_lost = self.faults.unknown > 0 and self.draw() < self.faults.unknown
        if is_lost:
            self.unknown.update(dict.fromkeys(after.session.id for before, after in commit.sessions if before is None))
        return is_lost

    def _wake(self) -> None:
        for bell, (has_work, within) in list(self._sleepers.items()):
            if has_work():
                del self._sleepers[bell]
                self._loop.call_later(self.draw() * within, bell.set)


def _is_queued(row: SessionRow) -> bool:
    return row.session.state is SessionState.QUEUED
