"""The queue: sessions that wait for a slot."""

from fleetkit.postgres import Connection
from session_api.adapters.postgres.browser_rows import need_of
from session_api.adapters.postgres.organizations import LIMIT_COLUMNS, limits_of
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.queue import Share, Waiting


class PostgresSessionQueue:
    """See SessionQueue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def waiting(self, *, limit: int) -> list[Waiting]:
        rows = await self._connection.fetch(
            "SELECT id, organization_id, spec FROM (SELECT id, organization_id, spec, row_number() OVER ("
            "PARTITION BY organization_id, browser_type, spec -> 'tier', spec -> 'proxy_location', spec -> 'extensions'"
            " ORDER BY id) AS rank"
            " FROM fleet.session WHERE state = 'QUEUED') AS queued WHERE rank <= $1",
            limit,
        )
        return [
            Waiting(
                session_id=SessionId(row["id"]),
                organization_id=OrganizationId(row["organization_id"]),
                need=need_of(row["spec"]),
            )
            for row in rows
        ]

    async def shares(self, *, also: OrganizationId | None = None) -> dict[OrganizationId, Share]:
        columns = ", ".join(f"organization.{name}" for name in LIMIT_COLUMNS)
        rows = await self._connection.fetch(
            f"SELECT organization.id, organization.weight, {columns}, (SELECT count(*) FROM fleet.session"
            " WHERE session.organization_id = organization.id AND session.end_time IS NULL"
            " AND session.state <> 'QUEUED') AS held FROM fleet.organization"
            " WHERE EXISTS (SELECT FROM fleet.session WHERE session.state = 'QUEUED'"
            " AND session.organization_id = organization.id) OR organization.id = $1",
            also,
        )
        return {
            OrganizationId(row["id"]): Share(held=row["held"], weight=row["weight"], limits=limits_of(row))
            for row in rows
        }

    async def size(self) -> int:
        size: int = await self._connection.fetchval("SELECT count(*) FROM fleet.session WHERE state = 'QUEUED'")
        return size
