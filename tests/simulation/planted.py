"""Mistakes that somebody could make in session-api, to be planted in the simulation alone."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from fleetkit.errors import FleetError
from session_api.domain.browser import BrowserFacts
from session_api.domain.caller import Caller
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import Assignment, Node, NodeReport
from session_api.domain.session import Due, Session, SessionState
from session_api.domain.usage import UsageRecord
from session_api.usecases.admission import Admission
from session_api.usecases.ending import Ending, end_session
from session_api.usecases.nodes import Nodes
from session_api.usecases.ports import Beat, HeldSession, Intake, Transaction
from session_api.usecases.queries import SessionQuery
from session_api.usecases.sessions import Sessions
from session_api.usecases.starting import Starting
from session_api.usecases.watching import Watching, WatchItem
from tests.simulation import isolation
from tests.simulation.plan import Kind
from tests.support.fleet_memory import nodes
from tests.support.fleet_memory.nodes import MemoryNodes
from tests.support.fleet_memory.outbox import MemoryOutbox
from tests.support.fleet_memory.sessions import MemorySessions

Planting = AbstractContextManager[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A mistake: how it is planted, the invariants that may catch it, and the kind of schedule that has to."""

    name: str
    plant: Callable[[], Planting]
    caught_by: frozenset[str]
    kind: Kind


def mistakes() -> list[Mistake]:
    """Return every mistake there is."""
    return [
        Mistake(name=name, plant=plant, caught_by=frozenset(caught_by.split()), kind=kind)
        for name, plant, caught_by, kind in (
            ("the epoch is not checked when a start is answered", _epoch_is_not_checked, "I1", Kind.STORMY),
            ("an end is written again by whoever comes later", _end_is_written_again, "I7 I5", Kind.SHORT),
            ("a slot is kept when a start fails", _slot_is_kept_when_a_start_fails, "I8", Kind.SHORT),
            ("slots are not counted when one is taken", _slots_are_not_counted, "I8", Kind.SHORT),
            ("a due message is believed without a look at the deadline", _messages_are_believed, "I2", Kind.SHORT),
            ("silence counts also after an outage of the database", _silence_always_counts, "I12", Kind.SHORT),
            ("an event is not written with its change", _events_are_written_elsewhere, "I9", Kind.SHORT),
            ("heartbeats of an earlier registration count", _registrations_do_not_fence, "I12", Kind.SHORT),
            ("usage begins with the create", _usage_begins_with_the_create, "I5", Kind.SHORT),
            ("browsers that nobody knows are left alone", _strangers_are_left_alone, "I3 I1", Kind.SHORT),
            ("idempotency keys are not looked up", _keys_are_not_looked_up, "I6", Kind.SHORT),
            ("creates ignore quotas", _creates_ignore_quotas, "quota", Kind.SHORT),
            ("an organization is counted without its lock", _organizations_are_not_locked, "quota", Kind.STORMY),
            ("a node is locked before its session", _nodes_are_locked_first, "locks", Kind.STORMY),
            ("a close that was left half-way is not finished", _closes_are_left_half_way, "liveness", Kind.STORMY),
            ("a session that nobody knows of is left to itself", _nobody_ends_it, "findable", Kind.SHORT),
            ("heartbeats tell of control that has ended", _control_never_ends, "control", Kind.SHORT),
            ("a watch that resumes begins with the present", _resumed_watches_forget, "watch", Kind.STORMY),
            ("changes are read in the order of their numbers", _changes_are_read_by_number, "watch", Kind.STORMY),
        )
    ]


def _epoch_is_not_checked() -> Planting:
    async def started(self: Starting, session: Session, browser: BrowserFacts) -> Session:
        async with self._database.transaction() as tx:
            current, now = await tx.sessions.lock(session.id)
            if current.state is SessionState.STARTING:
                running = current.started(now=now, browser=browser)
                await tx.sessions.save(running)
                await tx.outbox.announce(running, what="started", now=now)
                await tx.outbox.schedule(running)
                return running
        return current

    return patch.object(Starting, "_started", started)


def _end_is_written_again() -> Planting:
    def ended(self: Session, *, now: datetime, reason: CloseReason, message: str = "") -> Session:
        return replace(
            self,
            state=SessionState.FAILED if reason.is_fault else SessionState.CLOSED,
            close_reason=reason,
            close_message=message or reason.sentence,
            end_time=now,
            state_time=now,
            occupancy=None,
            control=None,
            sequence=self.sequence + 1,
        )

    return patch.object(Session, "ended", ended)


def _slot_is_kept_when_a_start_fails() -> Planting:
    async def fail(self: Starting, session: Session, error: FleetError) -> None:
        async with self._database.transaction() as tx:
            current, now = await tx.sessions.lock(session.id)
            ended = current.ended(now=now, reason=CloseReason.START_FAILED)
            if ended is not current:
                await tx.sessions.save(ended)
                await tx.outbox.announce(ended, what="failed", now=now)

    return patch.object(Starting, "_fail", fail)


def _slots_are_not_counted() -> Planting:
    async def take_slot(self: MemoryNodes, node: Node) -> bool:
        row = self._rows[node.id]
        self._rows[row.id] = replace(row, slots_used=row.slots_used + 1)
        return True

    return patch.object(MemoryNodes, "take_slot", take_slot)


def _messages_are_believed() -> Planting:
    truth = Session.due

    def due(self: Session, *, now: datetime, report_time: datetime | None) -> Due | None:
        if self.state is SessionState.RUNNING:
            return Due.DEADLINE
        return truth(self, now=now, report_time=report_time)

    return patch.object(Session, "due", due)


def _silence_always_counts() -> Planting:
    async def watch(self: MemoryNodes, *, now: datetime, longest_gap: timedelta) -> datetime:
        return datetime(2000, 1, 1, tzinfo=UTC)

    return patch.object(MemoryNodes, "watch", watch)


def _events_are_written_elsewhere() -> Planting:
    truth = MemoryOutbox.announce

    async def announce(self: MemoryOutbox, session: Session, *, what: str, now: datetime) -> None:
        if what != "closing":
            await truth(self, session, what=what, now=now)

    return patch.object(MemoryOutbox, "announce", announce)


def _registrations_do_not_fence() -> Planting:
    truth = MemoryNodes.beat

    async def beat(self: MemoryNodes, report: NodeReport) -> Beat | None:
        row = self._rows[report.node_id]
        if row.is_lost:
            return Beat(now=self._clock.now(), held=[])
        return await truth(self, replace(report, registration_id=row.registration_id))

    return patch.object(MemoryNodes, "beat", beat)


def _usage_begins_with_the_create() -> Planting:
    def of(session: Session) -> UsageRecord | None:
        if session.end_time is None:
            return None
        return UsageRecord(
            session_id=session.id,
            epoch=session.epoch,
            organization_id=session.organization_id,
            start_time=session.create_time,
            end_time=session.end_time,
        )

    return patch.object(UsageRecord, "of", of)


def _strangers_are_left_alone() -> Planting:
    truth = Nodes._assignments

    async def assignments(self: Nodes, report: NodeReport, beat: Beat) -> list[Assignment]:
        wanted = await truth(self, report, beat)
        known = {(assignment.session_id, assignment.epoch) for assignment in wanted}
        strangers = [
            Assignment(session_id=browser.session_id, epoch=browser.epoch, remaining=timedelta(hours=1))
            for browser in report.running
            if (browser.session_id, browser.epoch) not in known
        ]
        return wanted + strangers

    return patch.object(Nodes, "_assignments", assignments)


@contextmanager
def _keys_are_not_looked_up() -> Iterator[None]:
    truth = MemorySessions.intake

    async def intake(self: MemorySessions, *args: Any, **kwargs: Any) -> Intake:  # Any: passed on as they came
        return replace(await truth(self, *args, **kwargs), existing=None)

    async def add(self: MemorySessions, session: Session) -> None:
        self._write(session, session.due_time)

    with patch.object(MemorySessions, "intake", intake), patch.object(MemorySessions, "add", add):
        yield


def _creates_ignore_quotas() -> Planting:
    async def within_quota(self: Admission, tx: Transaction, caller: Caller, *, now: datetime) -> bool:
        return True

    return patch.object(Admission, "_within_quota", within_quota)


def _organizations_are_not_locked() -> Planting:
    return patch.dict(isolation.ORGANIZATION_LOCKS, {"lock_consumption": lambda *_, **__: []})


def _nodes_are_locked_first() -> Planting:
    async def end(
        self: Ending,
        session_id: SessionId,
        *,
        reason: CloseReason,
        message: str = "",
        holder: tuple[NodeId, int] | None = None,
    ) -> Session:
        async with self._database.transaction() as tx:
            session = await tx.sessions.get(session_id)
            if session.allocation is not None and not session.state.is_final:
                await tx.nodes.lock(session.allocation.node_id)
            session, now = await tx.sessions.lock(session_id)
            if holder in {None, session.holder}:
                session = await end_session(tx, session, now=now, reason=reason, message=message)
        return session

    return patch.object(Ending, "end", end)


def _closes_are_left_half_way() -> Planting:
    truth = Session.due

    def due(self: Session, *, now: datetime, report_time: datetime | None) -> Due | None:
        found = truth(self, now=now, report_time=report_time)
        return None if found is Due.STOP_LEFT else found

    return patch.object(Session, "due", due)


def _nobody_ends_it() -> Planting:
    async def abandon(self: Sessions, allocation: object) -> None:
        return

    return patch.object(Sessions, "_abandon", abandon)


def _control_never_ends() -> Planting:
    truth = nodes._held

    def held(session: Session) -> HeldSession:
        return replace(truth(session), control_generation=session.controls)

    return patch.object(nodes, "_held", held)


@contextmanager
def _resumed_watches_forget() -> Iterator[None]:
    truth = Watching.watch

    def watch(self: Watching, caller: Caller, query: SessionQuery, resume_token: str) -> AsyncIterator[WatchItem]:
        return truth(self, caller, query, "")

    async def nothing(self: Watching, query: SessionQuery) -> AsyncIterator[Session]:
        for session in list[Session]():
            yield session

    with patch.object(Watching, "watch", watch), patch.object(Watching, "_present", nothing):
        yield


def _changes_are_read_by_number() -> Planting:
    def complete(self: isolation.Numbers) -> int:
        return self._next

    return patch.object(isolation.Numbers, "complete", complete)
