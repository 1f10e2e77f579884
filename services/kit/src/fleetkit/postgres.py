"""Postgres through asyncpg: a pool, migrations, and driver faults as typed errors."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from importlib.resources import files
from typing import TypeAlias

import asyncpg

from fleetkit.errors import Aborted, InvalidArgument, Unavailable
from fleetkit.settings import Secret, SettingsReader

log = logging.getLogger(__name__)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_COMMAND_TIMEOUT_SECONDS = 10.0
_RETRY_AFTER = timedelta(seconds=1)
# Guards the migrations of one schema against a second runner; any fixed number does.
_MIGRATION_LOCK = 0x666C656574


class DatabaseUnavailable(Unavailable):
    """Postgres does not answer. Whether a write that was under way took effect is unknown."""

    reason = "DATABASE_UNAVAILABLE"


class SchemaOutdated(Exception):
    """The database lacks migrations that this version of the service needs."""


def dsn_from_env(env: Mapping[str, str]) -> Secret:
    """Return FLEET_POSTGRES_DSN (or its _FILE): all that administrative commands need. Raises SettingsError."""
    # They run where the service runs, so its other variables are no fault.
    read = SettingsReader(env, own_prefix="FLEET_POSTGRES_DSN")
    dsn = read.secret("FLEET_POSTGRES_DSN")
    read.finish()
    return dsn


@contextlib.asynccontextmanager
async def open_pool(dsn: Secret, *, max_size: int = 10) -> AsyncIterator[Pool]:
    """Connect within the block; connections are made as they are needed and replaced when they break.

    Raises DatabaseUnavailable when Postgres does not answer now.
    """
    with typed_errors():
        pool = await asyncpg.create_pool(
            dsn.reveal(),
            min_size=1,
            max_size=max_size,
            command_timeout=_COMMAND_TIMEOUT_SECONDS,
            timeout=5.0,
            server_settings={"idle_in_transaction_session_timeout": "15s"},
            reset=_leave_as_it_is,
        )
    try:
        yield pool
    finally:
        await _close(pool)


async def _leave_as_it_is(_: object) -> None:
    """Spare the statement that asyncpg sends when a connection comes back: nothing here outlives its transaction."""


async def _close(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Turn a broken connection or an exhausted pool into DatabaseUnavailable, a lost race into Aborted.

    Text that Postgres cannot hold, such as a NUL, came from outside: InvalidArgument.
    """
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        # A server that dies amid a statement: the driver's rollback finds the statement still under way.
        asyncpg.InternalClientError,
        asyncpg.PostgresConnectionError,
        asyncpg.exceptions.OperatorInterventionError,
        asyncpg.exceptions.InsufficientResourcesError,
    ) as error:
        raise DatabaseUnavailable("The database does not answer.", retry_after=_RETRY_AFTER) from error
    except asyncpg.exceptions.TransactionRollbackError as error:
        raise Aborted("Somebody else changed this at the same time; try again.") from error
    except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError) as error:
        raise InvalidArgument("The request holds text with characters that cannot be stored.") from error


async def migrate(dsn: Secret, *, schema: str, package: str) -> list[str]:
    """Apply the `NNNN_name.sql` files of `package` that `schema` lacks, each in a transaction; return their names.

    A second runner waits for the first. Raises DatabaseUnavailable.
    """
    with typed_errors():
        connection = await asyncpg.connect(dsn.reveal(), timeout=5.0)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{schema}".migration'
            " (name text PRIMARY KEY, apply_time timestamptz NOT NULL DEFAULT now())"
        )
        applied = await _applied(connection, schema)
        scripts = await asyncio.to_thread(_scripts, package)
        pending = [name for name in scripts if name not in applied]
        for name in pending:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute(f'SET LOCAL search_path = "{schema}"')
                await connection.execute(scripts[name])
                await connection.execute(f'INSERT INTO "{schema}".migration (name) VALUES ($1)', name)  # noqa: S608  # our own schema name
            log.info("applied migration %s of schema %s", name, schema)
        return pending
    finally:
        await connection.close()


async def check_schema(pool: Pool, *, schema: str, package: str) -> None:
    """Raise SchemaOutdated when a migration that this version brings was not applied. A newer schema is fine."""
    with typed_errors():
        async with pool.acquire() as connection:
            known = await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migration")
            applied = await _applied(connection, schema) if known else set()
    missing = [name for name in await asyncio.to_thread(_scripts, package) if name not in applied]
    if missing:
        raise SchemaOutdated(f"schema {schema} lacks migrations {', '.join(missing)}: run the migrate command first")


async def _applied(connection: Connection, schema: str) -> set[str]:
    rows = await connection.fetch(f'SELECT name FROM "{schema}".migration')  # noqa: S608  # our own schema name
    return {row["name"] for row in rows}


def _scripts(package: str) -> dict[str, str]:
    entries = sorted(files(package).iterdir(), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".sql"): entry.read_text() for entry in entries if entry.name.endswith(".sql")}
