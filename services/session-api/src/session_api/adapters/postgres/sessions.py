"""Sessions in Postgres."""

import json
from datetime import datetime
from typing import TypedDict

import asyncpg

from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.domain.errors import SessionChanged, SessionNotFound
from session_api.domain.node import RunningBrowser
from session_api.domain.session import (
    Allocation,
    BrowserFacts,
    BrowserSpec,
    BrowserType,
    CloseReason,
    NodeId,
    OrganizationId,
    Session,
    SessionId,
    SessionState,
)
from session_api.usecases.ports import SessionExists, SessionQuery

_COLUMNS = (
    "id, organization_id, state, spec, timeout, lifetime_limit, create_time, state_time, start_time, expire_time,"
    " end_time, node_id, registration_id, node_address, attach_url, epoch, close_reason, close_message, browser,"
    " client_count, warnings, request_id, request_digest, sequence, revision"
)
_PLACES = ", ".join(f"${number}" for number in range(1, 26))
_NAMES = _COLUMNS.replace(" ", "").split(",")
_ASSIGNMENTS = ", ".join(f"{name} = ${place}" for place, name in enumerate(_NAMES, start=1) if name not in {"id"})


class PostgresSessionRepository:
    """See SessionRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS} FROM fleet.session WHERE id = $1 AND ($2::text IS NULL OR organization_id = $2)",
            session_id,
            organization_id,
        )
        return _found(row)

    async def lock(self, session_id: SessionId) -> Session:
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS} FROM fleet.session WHERE id = $1 FOR UPDATE", session_id
        )
        return _found(row)

    async def by_request(self, organization_id: OrganizationId, request_id: str) -> Session | None:
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS} FROM fleet.session WHERE organization_id = $1 AND request_id = $2 AND request_id <> ''",
            organization_id,
            request_id,
        )
        return _session(row) if row else None

    async def add(self, session: Session) -> None:
        try:
            await self._connection.execute(
                f"INSERT INTO fleet.session ({_COLUMNS}) VALUES ({_PLACES})", *_values(session, session.revision)
            )
        except asyncpg.UniqueViolationError as error:
            raise SessionExists from error

    async def save(self, session: Session) -> None:
        status = await self._connection.execute(
            f"UPDATE fleet.session SET {_ASSIGNMENTS} WHERE id = $1 AND revision = ${len(_NAMES)} - 1",
            *_values(session, session.revision + 1),
        )
        if status != "UPDATE 1":
            raise SessionChanged("Somebody else changed the session at the same time.")

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM fleet.session"
            " WHERE ($1::text IS NULL OR organization_id = $1)"
            " AND (cardinality($2::text[]) = 0 OR state = ANY ($2))"
            " AND ($3::timestamptz IS NULL OR expire_time < $3)"
            " AND ($4::text IS NULL OR node_id = $4)"
            " AND ($5::text IS NULL OR id < $5)"
            " ORDER BY id DESC LIMIT $6",
            query.organization_id,
            [str(state) for state in query.states],
            query.expire_before,
            query.node_id,
            page.after,
            page.size + 1,
        )
        sessions = [_session(row) for row in rows[: page.size]]
        more = len(rows) > page.size
        return Page(items=sessions, next_after=sessions[-1].id if more else None)

    async def unfinished_of(self, node_id: NodeId) -> list[Session]:
        columns = ", ".join(f"session.{name}" for name in _NAMES)
        rows = await self._connection.fetch(
            f"SELECT {columns} FROM fleet.session JOIN fleet.node ON node.id = session.node_id"
            " WHERE session.node_id = $1 AND session.end_time IS NULL"
            " AND session.registration_id = node.registration_id",
            node_id,
        )
        return [_session(row) for row in rows]

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        rows = await self._connection.fetch(
            "SELECT session.id FROM fleet.session JOIN fleet.node ON node.id = session.node_id"
            " WHERE session.end_time IS NULL"
            " AND (node.state = 'LOST' OR node.registration_id <> session.registration_id) LIMIT $1",
            limit,
        )
        return [SessionId(row["id"]) for row in rows]

    async def stuck(self, state: SessionState, *, since: datetime, limit: int) -> list[SessionId]:
        rows = await self._connection.fetch(
            "SELECT id FROM fleet.session WHERE end_time IS NULL AND state = $1 AND state_time < $2 LIMIT $3",
            str(state),
            since,
            limit,
        )
        return [SessionId(row["id"]) for row in rows]

    async def record_clients(self, node_id: NodeId, running: list[RunningBrowser]) -> None:
        # Locked in the order of their IDs: a report that was sent twice cannot deadlock with itself.
        await self._connection.execute(
            "WITH held AS (SELECT session.id, report.clients FROM fleet.session"
            " JOIN unnest($2::text[], $3::bigint[], $4::int[]) AS report (id, epoch, clients)"
            " ON session.id = report.id AND session.epoch = report.epoch"
            " WHERE session.node_id = $1 AND session.end_time IS NULL AND session.client_count <> report.clients"
            " ORDER BY session.id FOR UPDATE OF session)"
            " UPDATE fleet.session SET client_count = held.clients FROM held WHERE session.id = held.id",
            node_id,
            [browser.session_id for browser in running],
            [browser.epoch for browser in running],
            [browser.client_count for browser in running],
        )


class _BrowserRow(TypedDict):
    product: str
    user_agent: str
    warm: bool
    sandboxed: bool


def _values(session: Session, revision: int) -> tuple[object, ...]:
    browser, allocation = session.browser, session.allocation
    facts = (
        json.dumps(
            _BrowserRow(
                product=browser.product,
                user_agent=browser.user_agent,
                warm=browser.warm,
                sandboxed=browser.sandboxed,
            )
        )
        if browser
        else None
    )
    return (
        session.id,
        session.organization_id,
        str(session.state),
        json.dumps({"browser_type": str(session.spec.browser_type)}),
        session.timeout,
        session.lifetime_limit,
        session.create_time,
        session.state_time,
        session.start_time,
        session.expire_time,
        session.end_time,
        allocation.node_id if allocation else None,
        allocation.registration_id if allocation else None,
        allocation.node_address if allocation else None,
        allocation.attach_url if allocation else None,
        session.epoch,
        str(session.close_reason) if session.close_reason else None,
        session.close_message,
        facts,
        session.client_count,
        list(session.warnings),
        session.request_id,
        session.request_digest,
        session.sequence,
        revision,
    )


def _found(row: asyncpg.Record | None) -> Session:
    if row is None:
        raise SessionNotFound
    return _session(row)


def _session(row: asyncpg.Record) -> Session:
    allocation = (
        Allocation(
            node_id=NodeId(row["node_id"]),
            registration_id=row["registration_id"],
            node_address=row["node_address"],
            attach_url=row["attach_url"],
        )
        if row["node_id"]
        else None
    )
    return Session(
        id=SessionId(row["id"]),
        organization_id=OrganizationId(row["organization_id"]),
        state=SessionState(row["state"]),
        spec=BrowserSpec(browser_type=BrowserType(json.loads(row["spec"])["browser_type"])),
        timeout=row["timeout"],
        lifetime_limit=row["lifetime_limit"],
        create_time=row["create_time"],
        state_time=row["state_time"],
        start_time=row["start_time"],
        expire_time=row["expire_time"],
        end_time=row["end_time"],
        allocation=allocation,
        epoch=row["epoch"],
        close_reason=CloseReason(row["close_reason"]) if row["close_reason"] else None,
        close_message=row["close_message"],
        browser=_browser(row["browser"]),
        client_count=row["client_count"],
        warnings=tuple(row["warnings"]),
        request_id=row["request_id"],
        request_digest=row["request_digest"],
        sequence=row["sequence"],
        revision=row["revision"],
    )


def _browser(text: str | None) -> BrowserFacts | None:
    if text is None:
        return None
    facts: _BrowserRow = json.loads(text)
    return BrowserFacts(
        product=facts["product"], user_agent=facts["user_agent"], warm=facts["warm"], sandboxed=facts["sandboxed"]
    )
