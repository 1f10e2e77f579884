"""Organizations and API keys in Postgres."""

from datetime import timedelta

from fleetkit.postgres import Connection
from session_api.domain.caller import Caller, Scope
from session_api.domain.session import OrganizationId


class PostgresKeyRepository:
    """See KeyRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def caller(self, digest: bytes) -> Caller | None:
        row = await self._connection.fetchrow(
            "SELECT api_key.organization_id, api_key.scope, organization.max_timeout"
            " FROM fleet.api_key JOIN fleet.organization ON organization.id = api_key.organization_id"
            " WHERE api_key.digest = $1 AND api_key.revoke_time IS NULL",
            digest,
        )
        if row is None:
            return None
        return Caller(
            organization_id=OrganizationId(row["organization_id"]),
            scope=Scope(row["scope"]),
            max_timeout=row["max_timeout"],
        )

    async def add(
        self, digest: bytes, *, organization_id: OrganizationId, scope: Scope, max_timeout: timedelta | None
    ) -> None:
        await self._connection.execute(
            "INSERT INTO fleet.organization (id, max_timeout) VALUES ($1, $2)"
            " ON CONFLICT (id) DO UPDATE SET max_timeout = COALESCE(excluded.max_timeout, organization.max_timeout)",
            organization_id,
            max_timeout,
        )
        await self._connection.execute(
            "INSERT INTO fleet.api_key (digest, organization_id, scope) VALUES ($1, $2, $3)",
            digest,
            organization_id,
            str(scope),
        )
