"""Organizations in memory, their keys, and what they have used."""

from dataclasses import replace
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.paging import Page, PageRequest
from session_api.domain.caller import ApiKey, Caller
from session_api.domain.errors import ApiKeyNotFound, OrganizationNotFound
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Consumption, Organization, start_of_day
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.queries import UsageQuery
from tests.support.fleet_memory.tables import Tables, page_of

_MINUTE = timedelta(minutes=1)


class MemoryOrganizations:
    """See OrganizationRepository."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._rows = tables.organizations
        self._clock = clock

    async def get(self, organization_id: OrganizationId) -> Organization:
        row = self._rows.get(organization_id)
        if row is None:
            raise OrganizationNotFound
        return row

    async def add(self, organization: Organization) -> bool:
        if organization.id in self._rows:
            return False
        self._rows[organization.id] = replace(organization, create_time=self._clock.now())
        return True

    async def save(self, organization: Organization) -> None:
        row = await self.get(organization.id)
        self._rows[row.id] = replace(row, limits=organization.limits, weight=organization.weight)

    async def page(self, page: PageRequest) -> Page[Organization]:
        ordered = sorted(self._rows.values(), key=lambda row: row.id)
        return page_of(
            (row for row in ordered if page.after is None or row.id > page.after), page, key=lambda row: row.id
        )

    async def lock_consumption(self, organization_id: OrganizationId, *, now: datetime) -> Consumption:
        day = start_of_day(now)
        own = [row.session for row in self._tables.sessions.values() if row.session.organization_id == organization_id]
        used = [
            record.end_time - max(record.start_time, day)
            for record in self._tables.usage.values()
            if record.organization_id == organization_id and record.end_time > day
        ]
        running = [
            now - max(session.start_time, day)
            for session in own
            if session.start_time is not None and not session.state.is_final
        ]
        return Consumption(
            open_sessions=sum(session.state.holds_slot for session in own),
            creates_last_minute=sum(session.create_time > now - _MINUTE for session in own),
            used_today=sum(used + running, timedelta(0)),
        )


class MemoryKeys:
    """See KeyRepository."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._rows = tables.keys
        self._clock = clock

    async def caller(self, digest: bytes) -> Caller | None:
        key, now = self._rows.get(digest), self._clock.now()
        if key is None or (key.expire_time is not None and key.expire_time <= now):
            return None
        if key.last_use_time is None or key.last_use_time < now - _MINUTE:
            self._rows[digest] = replace(key, last_use_time=now)
        organization = self._tables.organization(key.organization_id)
        return Caller(organization_id=organization.id, scope=key.scope, limits=organization.limits)

    async def add(self, key: ApiKey, digest: bytes) -> None:
        self._rows[digest] = key

    async def get(self, key_id: KeyId) -> ApiKey:
        return self._rows[self._digest(key_id)]

    async def save(self, key: ApiKey) -> None:
        digest = self._digest(key.id)
        self._rows[digest] = replace(self._rows[digest], expire_time=key.expire_time)

    async def page(self, organization_id: OrganizationId, page: PageRequest) -> Page[ApiKey]:
        own = [key for key in self._rows.values() if key.organization_id == organization_id]
        ordered = sorted(own, key=lambda key: key.id, reverse=True)
        return page_of(
            (key for key in ordered if page.after is None or key.id < page.after), page, key=lambda key: key.id
        )

    def _digest(self, key_id: KeyId) -> bytes:
        for digest, key in self._rows.items():
            if key.id == key_id:
                return digest
        raise ApiKeyNotFound


class MemoryUsage:
    """See UsageRepository."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.usage

    async def add(self, record: UsageRecord) -> None:
        key = (record.session_id, record.epoch)
        if key not in self._rows:
            self._rows[key] = record

    async def page(self, query: UsageQuery, page: PageRequest) -> Page[UsageRecord]:
        ordered = sorted((row for row in self._rows.values() if _matches(row, query)), key=_place)
        if page.after is not None:
            instant, session_id, epoch = page.after.split(" ")
            after = (datetime.fromisoformat(instant), session_id, int(epoch))
            ordered = [row for row in ordered if _place(row) > after]
        return page_of(ordered, page, key=lambda row: f"{row.end_time.isoformat()} {row.session_id} {row.epoch}")

    async def totals(self, query: UsageQuery, *, label: str) -> list[UsageTotal]:
        groups: dict[tuple[OrganizationId, str], list[UsageRecord]] = {}
        for row in self._rows.values():
            if _matches(row, query):
                value = row.labels.get(label, "") if label else ""
                groups.setdefault((row.organization_id, value), []).append(row)
        return [
            UsageTotal(
                organization_id=organization_id,
                label_value=value,
                record_count=len(rows),
                used=sum((row.used for row in rows), timedelta(0)),
            )
            for (organization_id, value), rows in sorted(groups.items(), key=lambda group: group[0])
        ]


def _place(record: UsageRecord) -> tuple[datetime, str, int]:
    return (record.end_time, record.session_id, record.epoch)


def _matches(record: UsageRecord, query: UsageQuery) -> bool:
    return (
        query.organization_id in {None, record.organization_id}
        and (query.end_after is None or record.end_time >= query.end_after)
        and (query.end_before is None or record.end_time < query.end_before)
        and query.labels.items() <= record.labels.items()
    )
