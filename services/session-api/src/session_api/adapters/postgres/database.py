"""Transactions of the `fleet` schema."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

from fleetkit.ids import IdSource
from fleetkit.postgres import Connection, Pool, check_schema, migrate, typed_errors
from fleetkit.settings import Secret
from session_api.adapters.postgres.keys import PostgresKeyRepository
from session_api.adapters.postgres.nodes import PostgresNodeRepository
from session_api.adapters.postgres.organizations import PostgresOrganizationRepository
from session_api.adapters.postgres.outbox import PostgresOutbox
from session_api.adapters.postgres.queue import PostgresSessionQueue
from session_api.adapters.postgres.sessions import PostgresSessionRepository
from session_api.adapters.postgres.usage import PostgresUsageRepository

_SCHEMA = "fleet"
_MIGRATIONS = "session_api.adapters.postgres.migrations"


async def migrate_fleet(dsn: Secret) -> list[str]:
    """Bring the `fleet` schema up to this version; return what was applied."""
    return await migrate(dsn, schema=_SCHEMA, package=_MIGRATIONS)


class PostgresTransaction:
    """The repositories on one connection."""

    def __init__(self, connection: Connection, ids: IdSource) -> None:
        self._connection = connection
        self.sessions = PostgresSessionRepository(connection, ids)
        self.queue = PostgresSessionQueue(connection)
        self.nodes = PostgresNodeRepository(connection)
        self.outbox = PostgresOutbox(connection, ids)
        self.organizations = PostgresOrganizationRepository(connection)
        self.keys = PostgresKeyRepository(connection)
        self.usage = PostgresUsageRepository(connection)

    async def now(self) -> datetime:
        now: datetime = await self._connection.fetchval("SELECT clock_timestamp()")
        return now


class PostgresDatabase:
    """Hands out transactions on a pool."""

    def __init__(self, pool: Pool, ids: IdSource) -> None:
        self._pool = pool
        self._ids = ids

    async def check(self) -> None:
        """Raise SchemaOutdated when migrations are missing, DatabaseUnavailable when Postgres does not answer."""
        await check_schema(self._pool, schema=_SCHEMA, package=_MIGRATIONS)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        with typed_errors():
            async with self._pool.acquire(timeout=5.0) as connection, connection.transaction():
                tx = PostgresTransaction(connection, self._ids)
                yield tx
                await tx.outbox.write()

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator[PostgresTransaction]:
        with typed_errors():
            async with self._pool.acquire(timeout=5.0) as connection:
                yield PostgresTransaction(connection, self._ids)
