"""API keys in Postgres."""

import asyncpg

from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.adapters.postgres.organizations import LIMIT_COLUMNS, limits_of
from session_api.domain.caller import ApiKey, Caller, Scope
from session_api.domain.errors import ApiKeyNotFound
from session_api.domain.identifiers import KeyId, OrganizationId

_COLUMNS = "id, organization_id, scope, prefix, display_name, create_time, last_use_time, expire_time"


class PostgresKeyRepository:
    """See KeyRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def caller(self, digest: bytes) -> Caller | None:
        columns = ", ".join(f"organization.{name}" for name in LIMIT_COLUMNS)
        row = await self._connection.fetchrow(
            "WITH used AS (UPDATE fleet.api_key SET last_use_time = clock_timestamp() WHERE digest = $1"
            " AND (expire_time IS NULL OR expire_time > clock_timestamp())"
            " AND (last_use_time IS NULL OR last_use_time < clock_timestamp() - interval '1 minute'))"
            f" SELECT api_key.organization_id, api_key.scope, {columns}"
            " FROM fleet.api_key JOIN fleet.organization ON organization.id = api_key.organization_id"
            " WHERE api_key.digest = $1"
            " AND (api_key.expire_time IS NULL OR api_key.expire_time > clock_timestamp())",
            digest,
        )
        if row is None:
            return None
        return Caller(
            organization_id=OrganizationId(row["organization_id"]), scope=Scope(row["scope"]), limits=limits_of(row)
        )

    async def add(self, key: ApiKey, digest: bytes) -> None:
        await self._connection.execute(
            f"INSERT INTO fleet.api_key (digest, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            digest,
            key.id,
            key.organization_id,
            key.scope.value,
            key.prefix,
            key.display_name,
            key.create_time,
            key.last_use_time,
            key.expire_time,
        )

    async def get(self, key_id: KeyId) -> ApiKey:
        row = await self._connection.fetchrow(f"SELECT {_COLUMNS} FROM fleet.api_key WHERE id = $1", key_id)
        if row is None:
            raise ApiKeyNotFound
        return _key_of(row)

    async def save(self, key: ApiKey) -> None:
        await self._connection.execute(
            # The version before this one looks at revoke_time.
            "UPDATE fleet.api_key SET expire_time = $2,"
            " revoke_time = CASE WHEN $2 <= clock_timestamp() THEN $2 END WHERE id = $1",
            key.id,
            key.expire_time,
        )

    async def page(self, organization_id: OrganizationId, page: PageRequest) -> Page[ApiKey]:
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM fleet.api_key WHERE organization_id = $1 AND ($2::text IS NULL OR id < $2)"
            " ORDER BY id DESC LIMIT $3",
            organization_id,
            page.after,
            page.size + 1,
        )
        found = [_key_of(row) for row in rows[: page.size]]
        return Page(items=found, next_after=found[-1].id if len(rows) > page.size else None)


def _key_of(row: asyncpg.Record) -> ApiKey:
    return ApiKey(
        id=KeyId(row["id"]),
        organization_id=OrganizationId(row["organization_id"]),
        scope=Scope(row["scope"]),
        prefix=row["prefix"],
        display_name=row["display_name"],
        create_time=row["create_time"],
        last_use_time=row["last_use_time"],
        expire_time=row["expire_time"],
    )
