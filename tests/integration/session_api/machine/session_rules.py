"""Sessions come and go: creates under every fortune, closes, extensions, and what falls due."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from fleetkit.errors import FleetError
from fleetkit.paging import MAX_PAGE_SIZE, PageRequest
from session_api.domain.browser import BrowserSpec
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    NodeUnavailable,
    QuotaExceeded,
    RequestIdReused,
    SessionNotOpen,
    TimeoutLimit,
)
from session_api.domain.identifiers import SessionId
from session_api.domain.node import EndedBrowser, NodeReport
from session_api.domain.session import IdlePolicy, Session, SessionState
from session_api.usecases.admission import NewSession
from session_api.usecases.queries import SessionQuery
from tests.integration.session_api.machine.model import ModelOrganization, ModelSession
from tests.integration.session_api.machine.steps import (
    IDLE_TIMEOUT,
    NOBODY,
    Steps,
    indexes,
    mostly_done,
    replicas,
    seconds,
    silent_names,
)
from tests.integration.session_api.machine.world import Answer
from tests.support.waiting import eventually, until

_MINUTE = 60
_PATIENCE = 60
_LIMIT_MINUTES = 1440
_organizations = st.integers(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a caller asks for."""

    key: str = ""
    body: str = ""
    waits: bool = False
    minutes: int = 2
    is_idle: bool = False

    @property
    def request(self) -> NewSession:
        return NewSession(
            spec=BrowserSpec(),
            timeout=timedelta(minutes=self.minutes),
            labels={"body": self.body},
            idle=IdlePolicy(timeout=seconds(IDLE_TIMEOUT)) if self.is_idle else None,
            queue_timeout=seconds(_PATIENCE if self.waits else 0),
            request_id=self.key,
        )


class SessionRules(Steps):
    @rule(
        replica=replicas,
        organization=_organizations,
        waits=st.booleans(),
        minutes=st.sampled_from([1, 2, 10]),
        is_idle=st.booleans(),
    )
    def create(self, replica: int, organization: int, waits: bool, minutes: int, is_idle: bool) -> None:
        self.script(Answer.DONE)
        self._create(replica, organization, Wish(waits=waits, minutes=minutes, is_idle=is_idle))

    @rule(
        replica=replicas,
        organization=_organizations,
        waits=st.booleans(),
        answer=st.sampled_from([Answer.DONE, Answer.REFUSES, Answer.HANGS]),
        silent=silent_names,
    )
    def create_while_nodes_fail(
        self, replica: int, organization: int, waits: bool, answer: Answer, silent: frozenset[str]
    ) -> None:
        self.script(answer, silent)
        self._create(replica, organization, Wish(waits=waits))

    @rule(
        replica=replicas,
        organization=_organizations,
        key=st.sampled_from(["first", "second"]),
        body=st.sampled_from(["same", "same", "same", "other"]),
        answer=mostly_done,
        silent=silent_names,
    )
    def create_under_a_key(
        self, replica: int, organization: int, key: str, body: str, answer: Answer, silent: frozenset[str]
    ) -> None:
        self.script(answer, silent)
        self._create(replica, organization, Wish(key=key, body=body, waits=True))

    @rule(replica=replicas, order=st.permutations([0, 0, 1, 1]))
    def a_crowd_comes(self, replica: int, order: list[int]) -> None:
        self.script(Answer.DONE)
        for organization in order:
            self._create(replica, organization, Wish(waits=True))

    @rule(replica=replicas, organization=_organizations, waits=st.booleans())
    def create_and_leave(self, replica: int, organization: int, waits: bool) -> None:
        owner, wish = self.model.organizations[organization], Wish(waits=waits)
        if self._refusal(owner, wish) is not None:
            return
        session = self._new(owner, wish)
        known = set(self.model.sessions)
        self.script(Answer.HANGS)

        async def is_there() -> bool:
            rows, _, _ = await self.fleet.rows()
            return bool(rows.keys() - known)

        async def leave() -> None:
            creating = self.plane(replica).sessions.create(self.caller(owner), wish.request, wait=seconds(_MINUTE))
            if session.state is SessionState.STARTING:
                await self.fleet.until_it_hangs(creating, then=Answer.DONE)
                return
            waiting = asyncio.ensure_future(creating)
            await eventually(is_there, within=10, what="the session waits")
            waiting.cancel()
            await asyncio.wait([waiting])

        self.run(leave())
        (session.id,) = self.run(self.fleet.rows())[0].keys() - known
        self.model.sessions[session.id] = session
        self.adopt_nodes(session)
        session.end(CloseReason.CLIENT_GONE, self.model.now)

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

    def _create(self, replica: int, organization: int, wish: Wish) -> None:
        owner = self.model.organizations[organization]
        session = self.model.by_key(owner, wish.key)
        if session is not None and session.key != (wish.key, wish.body):
            self._ask(replica, owner, wish, refused_with=RequestIdReused)
            return
        if session is None:
            refusal = self._refusal(owner, wish)
            if refusal is not None:
                self._ask(replica, owner, wish, refused_with=refusal)
                return
            session = self._new(owner, wish)
        self._bring_up(replica, session, wish)

    def _refusal(self, owner: ModelOrganization, wish: Wish) -> type[FleetError] | None:
        """Return how a new create is refused, if it is."""
        if not self.model.has_capable_node():
            return NoCapableNode
        if wish.waits or self._has_turn(owner):
            return None
        return NoCapacity if self.model.may_open(owner) else QuotaExceeded

    def _has_turn(self, owner: ModelOrganization) -> bool:
        return self.model.may_open(owner) and None in self.model.turns(owner)

    def _new(self, owner: ModelOrganization, wish: Wish) -> ModelSession:
        """Return a session that the model does not know yet, in the state that it gets first."""
        return ModelSession(
            id=NOBODY,
            organization=owner,
            key=(wish.key, wish.body),
            state=SessionState.STARTING if self._has_turn(owner) else SessionState.QUEUED,
            state_since=self.model.now,
            timeout=wish.minutes * _MINUTE,
            idle_timeout=IDLE_TIMEOUT if wish.is_idle else None,
            queue_until=self.model.now + _PATIENCE if wish.waits else self.model.now,
        )

    def _bring_up(self, replica: int, session: ModelSession, wish: Wish) -> None:
        """Create a session, or find it, and start its browser where it is STARTING."""
        is_new, starting = session.id == NOBODY, session.state is SessionState.STARTING
        answer, silent = self.fleet.nodes.answer, self.fleet.nodes.silent
        first = [session.node] if session.node is not None else []
        reachable = [node for node in (*first, *self.model.free_nodes()) if node.id not in silent]
        refused_with: type[FleetError] | None = None
        if starting and not reachable:
            refused_with = NodeUnavailable
        elif starting and answer is Answer.REFUSES:
            refused_with = BrowserStartFailed
        hangs = starting and refused_with is None and answer is Answer.HANGS
        wait = 0 if hangs or session.state is SessionState.QUEUED else _MINUTE
        found = self._ask(replica, session.organization, wish, wait=wait, refused_with=refused_with, hangs=hangs)
        if is_new:
            session.id = found
            self.model.sessions[found] = session
        assert session.id == found
        if starting:
            self.adopt_nodes(session)
            if refused_with is not None:
                session.end(CloseReason.START_FAILED, self.model.now)
            elif not hangs:
                assert session.node in reachable
                session.start(self.model.now)

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

    def _ask(
        self,
        replica: int,
        owner: ModelOrganization,
        wish: Wish,
        *,
        wait: int = 0,
        refused_with: type[FleetError] | None = None,
        hangs: bool = False,
    ) -> SessionId:
        """Return the ID of the session, also of one that did not come up."""

        async def create() -> SessionId:
            hanging = self.fleet.nodes.hanging
            try:
                session = await self.plane(replica).sessions.create(
                    self.caller(owner), wish.request, wait=seconds(wait)
                )
            except FleetError as error:
                if type(error) is not refused_with:
                    raise
                return SessionId(error.metadata.get("session_id", NOBODY))
            assert refused_with is None, f"{session}, expected was {refused_with}"
            if hangs:
                await until(lambda: self.fleet.nodes.hanging > hanging)
            return session.id

        return self.run(create())

    def _close(self, session: ModelSession, reason: CloseReason, call: Coroutine[object, object, Session]) -> None:
        if self.fleet.nodes.answer is Answer.HANGS:
            self.run(self.fleet.until_it_hangs(call))
        else:
            self.run(call)
        session.begin_close(reason, self.model.now)
        is_silent = session.node is not None and session.node.id in self.fleet.nodes.silent
        if session.state is SessionState.QUEUED or is_silent or self.fleet.nodes.answer is not Answer.HANGS:
            session.end(reason, self.model.now)
