"""Sessions in Postgres."""

from datetime import datetime

import asyncpg

from fleetkit.ids import IdSource
from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.adapters.postgres.outbox import WRITTEN, OutboxRows, written_from
from session_api.adapters.postgres.session_rows import (
    ASSIGNMENTS,
    CHANGING,
    COLUMNS,
    LISTED_COLUMNS,
    NAMES,
    PLACES,
    TYPED_PLACES,
    changing_values,
    session_of,
    values_of,
)
from session_api.adapters.postgres.session_search import page_of_sessions
from session_api.domain.browser import BrowserType
from session_api.domain.errors import ResumeTokenExpired, SessionChanged, SessionNotFound
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node, NodeReport
from session_api.domain.session import IdleActivity, Session
from session_api.usecases.ports import Changes, Intake, SessionExists
from session_api.usecases.queries import SessionQuery

_SAVE = (
    f"UPDATE fleet.session SET {ASSIGNMENTS}, change_xid = pg_current_xact_id()"
    f" WHERE id = $1 AND revision = ${CHANGING.index('revision') + 2} - 1"
)
# The news of a change are written where the change was: nowhere, if the row was not as it should be.
_SAVE_STARTED = (
    f"WITH saved AS ({_SAVE} RETURNING id)"
    f" INSERT INTO fleet.outbox ({WRITTEN}) SELECT {WRITTEN} FROM saved, {written_from(len(CHANGING) + 2)} ORDER BY number"
)
_ADD_PLACED = (
    "WITH slot AS (UPDATE fleet.node SET slots_used = slots_used + 1,"
    " warm_browsers = GREATEST(warm_browsers - 1, 0)"
    f" WHERE id = ${len(NAMES) + 1} AND registration_id = ${NAMES.index('registration_id') + 1}"
    " AND state = 'ACTIVE' AND slots_used < slots RETURNING id),"
    f" told AS (INSERT INTO fleet.outbox ({WRITTEN})"
    f" SELECT {WRITTEN} FROM slot, {written_from(len(NAMES) + 2)} ORDER BY number)"
    f" INSERT INTO fleet.session ({COLUMNS}) SELECT {TYPED_PLACES} FROM slot"
)


class PostgresSessionRepository:
    """See SessionRepository."""

    def __init__(self, connection: Connection, ids: IdSource) -> None:
        self._connection = connection
        self._ids = ids

    async def intake(self, organization_id: OrganizationId, request_id: str, browser_type: BrowserType) -> Intake:
        columns = ", ".join(f"existing.{name}" for name in NAMES)
        row = await self._connection.fetchrow(
            "SELECT clock_timestamp() AS intake_time,"
            " EXISTS (SELECT FROM fleet.session WHERE state = 'QUEUED' AND browser_type = $3) AS has_queue,"
            f" {columns} FROM (SELECT) AS always LEFT JOIN fleet.session AS existing"
            " ON existing.organization_id = $1 AND existing.request_id = $2 AND existing.request_id <> ''",
            organization_id,
            request_id,
            str(browser_type),
        )
        if row is None:
            raise AssertionError("a SELECT that always has a row had none")
        return Intake(
            now=row["intake_time"], existing=session_of(row) if row["id"] else None, has_queue=row["has_queue"]
        )

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        row = await self._connection.fetchrow(
            f"SELECT {COLUMNS} FROM fleet.session WHERE id = $1 AND ($2::text IS NULL OR organization_id = $2)",
            session_id,
            organization_id,
        )
        if row is None:
            raise SessionNotFound
        return session_of(row)

    async def read(self, session_id: SessionId) -> tuple[Session, datetime]:
        row = await self._connection.fetchrow(
            f"SELECT {COLUMNS}, clock_timestamp() AS read_time FROM fleet.session WHERE id = $1", session_id
        )
        if row is None:
            raise SessionNotFound
        return session_of(row), row["read_time"]

    async def lock(self, session_id: SessionId) -> tuple[Session, datetime]:
        # The instant is read by an outer query, once the row is locked: whoever waited for it has the later clock.
        row = await self._connection.fetchrow(
            f"WITH locked AS MATERIALIZED (SELECT {COLUMNS} FROM fleet.session WHERE id = $1 FOR UPDATE)"
            " SELECT locked.*, clock_timestamp() AS lock_time FROM locked",
            session_id,
        )
        if row is None:
            raise SessionNotFound
        return session_of(row), row["lock_time"]

    async def add(self, session: Session) -> None:
        try:
            await self._connection.execute(
                f"INSERT INTO fleet.session ({COLUMNS}) VALUES ({PLACES})", *values_of(session)
            )
        except asyncpg.UniqueViolationError as error:
            raise SessionExists from error

    async def add_placed(self, session: Session, node: Node, *, now: datetime) -> bool:
        news = OutboxRows(self._ids)
        news.announce(session, what="created", now=now)
        try:
            status = await self._connection.execute(_ADD_PLACED, *values_of(session), node.id, *news.take())
        except asyncpg.UniqueViolationError as error:
            raise SessionExists from error
        return status == "INSERT 0 1"

    async def save_started(self, session: Session, *, now: datetime) -> None:
        news = OutboxRows(self._ids)
        news.announce(session, what="started", now=now)
        news.schedule(session)
        status = await self._connection.execute(
            _SAVE_STARTED, session.id, *changing_values(session, session.revision + 1), *news.take()
        )
        if status == "INSERT 0 0":
            raise SessionChanged("Somebody else changed the session at the same time.")

    async def save(self, session: Session) -> None:
        status = await self._connection.execute(
            _SAVE,
            session.id,
            *changing_values(session, session.revision + 1),
        )
        if status != "UPDATE 1":
            raise SessionChanged("Somebody else changed the session at the same time.")

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        return await page_of_sessions(self._connection, query, page)

    async def on_node(self, node_id: NodeId) -> list[Session]:
        columns = ", ".join(f"session.{name}" for name in NAMES)
        rows = await self._connection.fetch(
            f"SELECT {columns} FROM fleet.session JOIN fleet.node ON node.id = session.node_id"
            " WHERE session.node_id = $1 AND session.end_time IS NULL"
            " AND session.registration_id = node.registration_id ORDER BY session.id",
            node_id,
        )
        return [session_of(row) for row in rows]

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        rows = await self._connection.fetch(
            "SELECT session.id FROM fleet.session JOIN fleet.node ON node.id = session.node_id"
            " WHERE session.end_time IS NULL"
            " AND (node.state = 'LOST' OR node.registration_id <> session.registration_id) LIMIT $1",
            limit,
        )
        return [SessionId(row["id"]) for row in rows]

    async def on_drained_nodes(self, *, limit: int) -> list[SessionId]:
        rows = await self._connection.fetch(
            "SELECT session.id FROM fleet.session JOIN fleet.node ON node.id = session.node_id"
            " WHERE node.drain_time <= clock_timestamp() AND session.end_time IS NULL"
            " AND session.state IN ('STARTING', 'RUNNING') LIMIT $1",
            limit,
        )
        return [SessionId(row["id"]) for row in rows]

    async def record_activity(self, report: NodeReport, *, now: datetime) -> None:
        # Locked in the order of their IDs: a report that was sent twice cannot deadlock with itself. The revision stays
        # as it is, so that a report gets in nobody's way.
        await self._connection.execute(
            "WITH news AS (SELECT session.id, report.clients, report.viewers,"
            " CASE WHEN session.idle_timeout IS NULL THEN session.active_time"
            f" WHEN session.idle_activity = '{IdleActivity.INPUT}' AND report.input_idle IS NOT NULL"
            " THEN GREATEST(session.active_time, $7::timestamptz - report.input_idle)"
            " WHEN report.clients > 0 OR report.viewers > 0 THEN $7 ELSE session.active_time END AS active_time"
            " FROM fleet.session"
            " JOIN unnest($2::text[], $3::bigint[], $4::int[], $5::int[], $6::interval[])"
            " AS report (id, epoch, clients, viewers, input_idle)"
            " ON session.id = report.id AND session.epoch = report.epoch"
            " WHERE session.node_id = $1 AND session.end_time IS NULL"
            " ORDER BY session.id FOR UPDATE OF session)"
            " UPDATE fleet.session SET client_count = news.clients, viewer_count = news.viewers,"
            " active_time = news.active_time, change_xid = pg_current_xact_id()"
            " FROM news WHERE session.id = news.id AND (session.client_count, session.viewer_count)"
            " IS DISTINCT FROM (news.clients, news.viewers)"
            # Activity alone is written when it is worth it: a tenth of the timeout is near enough.
            " OR session.id = news.id AND news.active_time > session.active_time + session.idle_timeout / 10",
            report.node_id,
            [browser.session_id for browser in report.running],
            [browser.epoch for browser in report.running],
            [browser.client_count for browser in report.running],
            [browser.viewer_count for browser in report.running],
            [browser.input_idle for browser in report.running],
            now,
        )

    async def position(self) -> int:
        position: int = await self._connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return position

    async def changes(self, *, since: int) -> Changes:
        # What runs now is left for the next time: its rows may become visible after those of later transactions.
        rows = await self._connection.fetch(
            "WITH reached AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid)"
            f" SELECT reached.xid::text::bigint AS position, {LISTED_COLUMNS}"
            " FROM reached LEFT JOIN fleet.session"
            " ON session.change_xid >= $1::bigint::text::xid8 AND session.change_xid < reached.xid"
            " ORDER BY session.change_xid",
            since,
        )
        position: int = rows[0]["position"]
        if since > position:
            raise ResumeTokenExpired("The database is not the one that this token is of: watch again without it.")
        return Changes(sessions=[session_of(row) for row in rows if row["id"]], position=position)
