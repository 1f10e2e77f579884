"""The schema: what a service does with one that is not there or too old, and how it is brought up to date."""

import asyncio

import pytest

from fleetkit.ids import RandomIds
from fleetkit.postgres import DatabaseUnavailable, SchemaOutdated, open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet

_ALL = ["0001_fleet", "0002_control_plane", "0003_session_options"]


async def test_a_database_that_is_not_there_is_said_to_be_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        async with open_pool(Secret("postgresql://fleet@127.0.0.1:1/none")):
            pass
    with pytest.raises(DatabaseUnavailable):
        await migrate_fleet(Secret("postgresql://fleet@127.0.0.1:1/none"))


async def test_a_service_on_an_old_schema_says_what_is_missing(empty_database: str) -> None:
    async with open_pool(Secret(empty_database)) as pool:
        database = PostgresDatabase(pool, RandomIds())
        with pytest.raises(SchemaOutdated, match="0001_fleet, 0002_control_plane"):
            await database.check()
        assert await migrate_fleet(Secret(empty_database)) == _ALL
        await database.check()
        await pool.execute("DELETE FROM fleet.migration WHERE name = '0002_control_plane'")
        with pytest.raises(SchemaOutdated, match="lacks migrations 0002_control_plane:"):
            await database.check()


async def test_two_migrations_at_once_apply_each_script_once(empty_database: str) -> None:
    results = await asyncio.gather(*(migrate_fleet(Secret(empty_database)) for _ in range(3)))
    assert sorted(results) == [[], [], _ALL]
