"""Organizations in Postgres, and what they have used."""

from datetime import datetime, timedelta

import asyncpg

from fleetkit.ids import first_of
from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.domain.errors import OrganizationNotFound
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Consumption, Limits, Organization, start_of_day

LIMIT_COLUMNS = ("max_open_sessions", "max_creates_per_minute", "max_minutes_per_day", "max_timeout")
_COLUMNS = f"id, weight, create_time, {', '.join(LIMIT_COLUMNS)}"
_MINUTE = timedelta(minutes=1)
# IDs carry the clock of the replica that made them, which may differ from the database's by so much.
_CLOCKS_DIFFER = timedelta(minutes=10)


class PostgresOrganizationRepository:
    """See OrganizationRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, organization_id: OrganizationId) -> Organization:
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS} FROM fleet.organization WHERE id = $1", organization_id
        )
        if row is None:
            raise OrganizationNotFound
        return _organization_of(row)

    async def add(self, organization: Organization) -> bool:
        status = await self._connection.execute(
            f"INSERT INTO fleet.organization (id, weight, {', '.join(LIMIT_COLUMNS)})"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
            *_values_of(organization),
        )
        return status == "INSERT 0 1"

    async def save(self, organization: Organization) -> None:
        status = await self._connection.execute(
            "UPDATE fleet.organization SET weight = $2, max_open_sessions = $3, max_creates_per_minute = $4,"
            " max_minutes_per_day = $5, max_timeout = $6 WHERE id = $1",
            *_values_of(organization),
        )
        if status != "UPDATE 1":
            raise OrganizationNotFound

    async def page(self, page: PageRequest) -> Page[Organization]:
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM fleet.organization WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2",
            page.after,
            page.size + 1,
        )
        found = [_organization_of(row) for row in rows[: page.size]]
        return Page(items=found, next_after=found[-1].id if len(rows) > page.size else None)

    async def lock_consumption(self, organization_id: OrganizationId, *, now: datetime) -> Consumption:
        # The row alone is locked, and first: the counts are those of whoever held it before.
        await self._connection.fetchval(
            "SELECT id FROM fleet.organization WHERE id = $1 FOR NO KEY UPDATE", organization_id
        )
        row = await self._connection.fetchrow(
            "SELECT (SELECT count(*) FROM fleet.session WHERE organization_id = $1 AND end_time IS NULL"
            " AND state <> 'QUEUED') AS open_sessions,"
            " (SELECT count(*) FROM fleet.session WHERE organization_id = $1 AND id >= $3"
            " AND create_time > $2) AS creates,"
            " (SELECT COALESCE(sum(end_time - GREATEST(start_time, $4)), '0') FROM fleet.usage"
            " WHERE organization_id = $1 AND end_time > $4) +"
            " (SELECT COALESCE(sum($5 - GREATEST(start_time, $4)), '0') FROM fleet.session"
            " WHERE organization_id = $1 AND end_time IS NULL AND start_time IS NOT NULL) AS used_today",
            organization_id,
            now - _MINUTE,
            first_of("pbs", now - _MINUTE - _CLOCKS_DIFFER),
            start_of_day(now),
            now,
        )
        if row is None:
            raise AssertionError("a SELECT of counts had no row")
        return Consumption(
            open_sessions=row["open_sessions"], creates_last_minute=row["creates"], used_today=row["used_today"]
        )


def limits_of(row: asyncpg.Record) -> Limits:
    """Return the limits of a row with all of LIMIT_COLUMNS."""
    return Limits(
        max_open_sessions=row["max_open_sessions"],
        max_creates_per_minute=row["max_creates_per_minute"],
        max_minutes_per_day=row["max_minutes_per_day"],
        max_timeout=row["max_timeout"],
    )


def _organization_of(row: asyncpg.Record) -> Organization:
    return Organization(
        id=OrganizationId(row["id"]), limits=limits_of(row), weight=row["weight"], create_time=row["create_time"]
    )


def _values_of(organization: Organization) -> tuple[object, ...]:
    limits = organization.limits
    return (
        organization.id,
        organization.weight,
        limits.max_open_sessions,
        limits.max_creates_per_minute,
        limits.max_minutes_per_day,
        limits.max_timeout,
    )
