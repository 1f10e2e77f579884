"""Sessions in memory."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from fleetkit.clock import Clock
from fleetkit.paging import Page, PageRequest
from session_api.domain.browser import BrowserType
from session_api.domain.errors import ResumeTokenExpired, SessionChanged, SessionNotFound
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node, NodeReport, RunningBrowser
from session_api.domain.session import IdleActivity, Session, SessionState
from session_api.usecases.ports import Changes, Intake, SessionExists
from session_api.usecases.queries import SessionOrder, SessionQuery
from tests.support.fleet_memory.nodes import MemoryNodes
from tests.support.fleet_memory.outbox import MemoryOutbox
from tests.support.fleet_memory.tables import SessionRow, Tables, page_of

_BY_DEADLINE = frozenset({SessionOrder.EXPIRING_FIRST, SessionOrder.EXPIRING_LAST})
_DESCENDING = frozenset({SessionOrder.NEWEST, SessionOrder.EXPIRING_LAST})


class MemorySessions:
    """See SessionRepository."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._rows = tables.sessions
        self._clock = clock

    async def intake(self, organization_id: OrganizationId, request_id: str, browser_type: BrowserType) -> Intake:
        return Intake(
            now=self._clock.now(),
            existing=self._by_request(organization_id, request_id),
            has_queue=any(
                session.state is SessionState.QUEUED and session.spec.browser_type is browser_type
                for session in self._all()
            ),
        )

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        row = self._rows.get(session_id)
        if row is None or organization_id not in {None, row.session.organization_id}:
            raise SessionNotFound
        return row.session

    async def read(self, session_id: SessionId) -> tuple[Session, datetime]:
        return await self.get(session_id), self._clock.now()

    async def lock(self, session_id: SessionId) -> tuple[Session, datetime]:
        return await self.get(session_id), self._clock.now()

    async def add(self, session: Session) -> None:
        if session.id in self._rows or self._by_request(session.organization_id, session.request_id):
            raise SessionExists
        self._write(session, session.due_time)

    async def add_placed(self, session: Session, node: Node, *, now: datetime) -> bool:
        before = self._tables.nodes.get(node.id)
        if before is None or not await MemoryNodes(self._tables, self._clock).take_slot(node):
            return False
        try:
            await self.add(session)
        except SessionExists:
            self._tables.nodes[node.id] = before
            raise
        await MemoryOutbox(self._tables).announce(session, what="created", now=now)
        return True

    async def save_started(self, session: Session, *, now: datetime) -> None:
        await self.save(session)
        outbox = MemoryOutbox(self._tables)
        await outbox.announce(session, what="started", now=now)
        await outbox.schedule(session)

    async def save(self, session: Session) -> None:
        row = self._rows.get(session.id)
        if row is None or row.session.revision != session.revision:
            raise SessionChanged("Somebody else changed the session at the same time.")
        self._write(replace(session, revision=session.revision + 1), session.due_time)

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        found = [row.session for row in self._rows.values() if query.matches(row.session) and self._is_due(row, query)]
        if query.order in _BY_DEADLINE:
            found = [session for session in found if session.expire_time is not None]
        descending = query.order in _DESCENDING
        found.sort(key=lambda session: _place(session, query.order), reverse=descending)
        if page.after is not None:
            after = _read_place(page.after, query.order)
            found = [
                session
                for session in found
                if (_place(session, query.order) < after if descending else _place(session, query.order) > after)
            ]
        listed = [_listed(session) for session in found]
        return page_of(listed, page, key=lambda session: " ".join(str(part) for part in _place(session, query.order)))

    async def on_node(self, node_id: NodeId) -> list[Session]:
        return self._tables.held_by(node_id)

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        found = []
        for session in self._all():
            if session.state.is_final or session.allocation is None:
                continue
            node = self._tables.nodes.get(session.allocation.node_id)
            if node is not None and (node.is_lost or node.registration_id != session.allocation.registration_id):
                found.append(session.id)
        return found[:limit]

    async def on_drained_nodes(self, *, limit: int) -> list[SessionId]:
        now, found = self._clock.now(), []
        for session in self._all():
            if session.allocation is None or session.state not in {SessionState.STARTING, SessionState.RUNNING}:
                continue
            node = self._tables.nodes.get(session.allocation.node_id)
            if node is not None and node.drain_time is not None and node.drain_time <= now:
                found.append(session.id)
        return found[:limit]

    async def record_activity(self, report: NodeReport, *, now: datetime) -> None:
        for browser in report.running:
            row = self._rows.get(browser.session_id)
            if row is None or row.session.state.is_final or row.session.holder != (report.node_id, browser.epoch):
                continue
            session = row.session
            active_time = _active_time(session, browser, now)
            news = replace(
                session,
                client_count=browser.client_count,
                viewer_count=browser.viewer_count,
                active_time=active_time,
            )
            counts_differ = (news.client_count, news.viewer_count) != (session.client_count, session.viewer_count)
            if counts_differ or _is_much_later(session, active_time):
                self._write(news, row.due_time)

    async def position(self) -> int:
        return self._tables.transaction

    async def changes(self, *, since: int) -> Changes:
        position = self._tables.transaction
        if since > position:
            raise ResumeTokenExpired("The database is not the one that this token is of: watch again without it.")
        rows = sorted(
            (row for row in self._rows.values() if since <= row.change < position), key=lambda row: row.change
        )
        return Changes(sessions=[_listed(row.session) for row in rows], position=position)

    def _all(self) -> Iterator[Session]:
        return (row.session for row in self._rows.values())

    def _by_request(self, organization_id: OrganizationId, request_id: str) -> Session | None:
        if not request_id:
            return None
        wanted = (organization_id, request_id)
        return next((row for row in self._all() if (row.organization_id, row.request_id) == wanted), None)

    def _is_due(self, row: SessionRow, query: SessionQuery) -> bool:
        if query.due_before is None:
            return True
        if row.due_time is None or row.session.state.is_final:
            return False
        return row.due_time < min(query.due_before, self._clock.now())

    def _write(self, session: Session, due_time: datetime | None) -> None:
        row = SessionRow(session=session, due_time=due_time, change=self._tables.transaction)
        self._rows[session.id] = row


def _listed(session: Session) -> Session:
    """Return a session as lists have it: without secrets and receipts."""
    if not session.sealed_secrets and (session.browser is None or not session.browser.receipts):
        return session
    browser = replace(session.browser, receipts=()) if session.browser else None
    return replace(session, sealed_secrets="", browser=browser)


def _place(session: Session, order: SessionOrder) -> tuple[str, ...]:
    """Return what sorts a session; an instant in this form sorts as text."""
    if order not in _BY_DEADLINE or session.expire_time is None:
        return (session.id,)
    return (session.expire_time.isoformat(timespec="microseconds"), session.id)


def _read_place(text: str, order: SessionOrder) -> tuple[str, ...]:
    return tuple(text.split(" ")) if order in _BY_DEADLINE else (text,)


def _active_time(session: Session, browser: RunningBrowser, now: datetime) -> datetime | None:
    if session.idle is None:
        return session.active_time
    if session.idle.activity is IdleActivity.INPUT and browser.input_idle is not None:
        input_time = now - browser.input_idle
        return max(session.active_time or input_time, input_time)
    return now if browser.client_count > 0 or browser.viewer_count > 0 else session.active_time


def _is_much_later(session: Session, active_time: datetime | None) -> bool:
    if session.idle is None or session.active_time is None or active_time is None:
        return False
    return active_time > session.active_time + session.idle.timeout / 10
