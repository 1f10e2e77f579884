"""Usage records in Postgres."""

import json
from datetime import datetime

from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.adapters.postgres.conditions import Conditions
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.queries import UsageQuery

_COLUMNS = "session_id, epoch, organization_id, labels, start_time, end_time"


class PostgresUsageRepository:
    """See UsageRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, record: UsageRecord) -> None:
        await self._connection.execute(
            f"INSERT INTO fleet.usage ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            record.session_id,
            record.epoch,
            record.organization_id,
            json.dumps(dict(record.labels)),
            record.start_time,
            record.end_time,
        )

    async def page(self, query: UsageQuery, page: PageRequest) -> Page[UsageRecord]:
        where = _conditions(query)
        if page.after is not None:
            instant, session_id, epoch = page.after.split(" ")
            where.add(
                "(end_time, session_id, epoch) > ({}, {}, {})", datetime.fromisoformat(instant), session_id, int(epoch)
            )
        limit = where.value(page.size + 1)
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM fleet.usage WHERE {where} ORDER BY end_time, session_id, epoch LIMIT {limit}",
            *where.values,
        )
        found = [
            UsageRecord(
                session_id=SessionId(row["session_id"]),
                epoch=row["epoch"],
                organization_id=OrganizationId(row["organization_id"]),
                labels=json.loads(row["labels"]),
                start_time=row["start_time"],
                end_time=row["end_time"],
            )
            for row in rows[: page.size]
        ]
        if len(rows) <= page.size:
            return Page(items=found)
        last = found[-1]
        return Page(items=found, next_after=f"{last.end_time.isoformat()} {last.session_id} {last.epoch}")

    async def totals(self, query: UsageQuery, *, label: str) -> list[UsageTotal]:
        where = _conditions(query)
        name = where.value(label)
        rows = await self._connection.fetch(
            f"SELECT organization_id, COALESCE(labels ->> {name}::text, '') AS label_value, count(*) AS records,"
            f" sum(end_time - start_time) AS used FROM fleet.usage WHERE {where}"
            " GROUP BY 1, 2 ORDER BY 1, 2",
            *where.values,
        )
        return [
            UsageTotal(
                organization_id=OrganizationId(row["organization_id"]),
                label_value=row["label_value"],
                record_count=row["records"],
                used=row["used"],
            )
            for row in rows
        ]


def _conditions(query: UsageQuery) -> Conditions:
    where = Conditions()
    if query.organization_id is not None:
        where.add("organization_id = {}", query.organization_id)
    if query.end_after is not None:
        where.add("end_time >= {}", query.end_after)
    if query.end_before is not None:
        where.add("end_time < {}", query.end_before)
    if query.labels:
        where.add("labels @> {}::jsonb", json.dumps(dict(query.labels)))
    return where
