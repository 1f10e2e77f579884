"""Sessions go: closes, extensions, and what falls due."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from fleetkit.errors import FleetError
from fleetkit.paging import MAX_PAGE_SIZE, PageRequest
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    SessionNotOpen,
    TimeoutLimit,
)
from session_api.domain.node import EndedBrowser, NodeReport
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from tests.integration.session_api.machine.model import ModelSession
from tests.integration.session_api.machine.steps import (
    Steps,
    indexes,
    mostly_done,
    replicas,
    silent_names,
)
from tests.integration.session_api.machine.world import Answer

_MINUTE = 60
_PATIENCE = 60
_LIMIT_MINUTES = 1440
_organizations = st.integers(0, 1)


class EndRules(Steps):
    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, answer=mostly_done, silent=silent_names)
    def close(self, replica: int, index: int, answer: Answer, silent: frozenset[str]) -> None:
        session = self.pick(index)
        self.script(answer, silent)
        call = self.plane(replica).sessions.close(self.caller(session.organization), session.id)
        self._close(session, CloseReason.USER_REQUESTED, call)

    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, minutes=st.sampled_from([1, 5, _LIMIT_MINUTES]))
    def extend(self, replica: int, index: int, minutes: int) -> None:
        session = self.pick(index)
        self.script(Answer.DONE)
        refused_with: type[FleetError] | None = None
        if not session.is_running or session.is_overdue(self.model.now):
            refused_with = SessionNotOpen
        elif session.timeout + minutes * _MINUTE > _LIMIT_MINUTES * _MINUTE:
            refused_with = TimeoutLimit
        caller = self.caller(session.organization)
        call = self.plane(replica).sessions.extend(caller, session.id, by=timedelta(minutes=minutes))
        self.answered(call, refused_with=refused_with)
        if refused_with is None and session.deadline is not None:
            session.timeout += minutes * _MINUTE
            session.deadline += minutes * _MINUTE

    @rule(replica=replicas, answer=mostly_done)
    def reap_what_is_due(self, replica: int, answer: Answer) -> None:
        """As the reaper's sweep does. Sessions fall due in the list before they do, and never after."""
        self.script(answer)
        query = SessionQuery(due_before=datetime.max.replace(tzinfo=UTC))
        due = self.run(self.plane(replica).sessions.list(query, PageRequest(size=MAX_PAGE_SIZE)))
        listed = [self.model.sessions[session.id] for session in due.items]
        now = self.model.now
        for session in self.model.sessions.values():
            assert session in listed or not (session.is_overdue(now) or session.is_idle() or session.is_due_to_end(now))
        for session in listed:
            self._reap(replica, session)

    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes)
    def reap(self, replica: int, index: int) -> None:
        self.script(Answer.DONE)
        self._reap(replica, self.pick(index))

    @precondition(lambda self: self.model.running())
    @rule(index=indexes)
    def everybody_ends_it_at_once(self, index: int) -> None:
        running = self.model.running()
        session = running[index % len(running)]
        assert session.node is not None
        self.script(Answer.DONE)
        caller, row, first, second = (
            self.caller(session.organization),
            self.rows[session.id],
            self.plane(0),
            self.plane(1),
        )
        crash = EndedBrowser(
            session_id=session.id, epoch=row.epoch, close_reason=CloseReason.BROWSER_CRASHED, message="It fell over."
        )
        report = NodeReport(
            node_id=session.node.id,
            registration_id=session.node.registrations[-1],
            running=[],
            ended=[crash],
            draining=session.node.is_stopping,
        )
        reported = not session.node.is_lost
        held = self.model.held(session.node)

        async def race() -> Sequence[object]:
            return await asyncio.gather(
                first.sessions.close(caller, session.id),
                second.reaping.reap(session.id),
                first.nodes.heartbeat(report),
                second.sessions.extend(caller, session.id, by=timedelta(minutes=1)),
                second.sessions.close(caller, session.id),
                return_exceptions=True,
            )

        for answer in self.run(race()):
            assert not isinstance(answer, BaseException) or isinstance(answer, FleetError), repr(answer)
        ended = self.run(self.fleet.rows())[0][session.id]
        assert ended.close_reason is not None
        session.end(ended.close_reason, self.model.now)
        if reported:
            session.node.beat = self.model.now
            for other in held:
                if other.is_missing(self.model.now):
                    other.end(CloseReason.BROWSER_CRASHED, self.model.now)

    # ---- how

    def _reap(self, replica: int, session: ModelSession) -> None:
        now, call = self.model.now, self.plane(replica).reaping.reap(session.id)
        if session.is_overdue(now):
            self._close(session, CloseReason.TIMED_OUT, call)
        elif session.is_idle():
            self._close(session, CloseReason.IDLE, call)
        else:
            self.run(call)
            if session.is_due_to_end(now):
                waited = session.state is SessionState.QUEUED
                session.end(CloseReason.QUEUE_TIMED_OUT if waited else CloseReason.START_FAILED, now)
            elif session.is_running:
                session.drop_a_lease_that_is_over(now)

    def _close(self, session: ModelSession, reason: CloseReason, call: Coroutine[object, object, Session]) -> None:
        if self.fleet.nodes.answer is Answer.HANGS:
            self.run(self.fleet.until_it_hangs(call))
        else:
            self.run(call)
        session.begin_close(reason, self.model.now)
        is_silent = session.node is not None and session.node.id in self.fleet.nodes.silent
        if session.state is SessionState.QUEUED or is_silent or self.fleet.nodes.answer is not Answer.HANGS:
            session.end(reason, self.model.now)
