"""Transactions on the schema `artifacts`."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from artifact_store.adapters.postgres.artifacts import PostgresArtifactRepository
from artifact_store.adapters.postgres.inbox import PostgresInbox
from artifact_store.adapters.postgres.session_ends import PostgresSessionEnds
from fleetkit import postgres
from fleetkit.settings import Secret

SCHEMA = "artifacts"
MIGRATIONS = "artifact_store.adapters.postgres.migrations"


@dataclass(frozen=True, slots=True)
class PostgresTransaction:
    artifacts: PostgresArtifactRepository
    inbox: PostgresInbox
    session_ends: PostgresSessionEnds


class PostgresDatabase:
    """A pool of connections. Raises DatabaseUnavailable when Postgres does not answer."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        with postgres.typed_errors():
            async with self._pool.acquire(timeout=5) as connection, connection.transaction():
                yield PostgresTransaction(
                    artifacts=PostgresArtifactRepository(connection),
                    inbox=PostgresInbox(connection),
                    session_ends=PostgresSessionEnds(connection),
                )


@contextlib.asynccontextmanager
async def open_database(dsn: Secret) -> AsyncIterator[PostgresDatabase]:
    """Connect within the block. Raises DatabaseUnavailable, and SchemaOutdated before `migrate` was run."""
    async with postgres.open_pool(dsn) as pool:
        await postgres.check_schema(pool, schema=SCHEMA, package=MIGRATIONS)
        yield PostgresDatabase(pool)


async def migrate(dsn: Secret) -> list[str]:
    """Bring the schema up to this version; return the migrations that were applied."""
    return await postgres.migrate(dsn, schema=SCHEMA, package=MIGRATIONS)
