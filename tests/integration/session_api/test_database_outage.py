"""Postgres is killed and comes back: the pool recovers by itself, and errors meanwhile are typed."""

import asyncio
from pathlib import Path

import pytest

from fleetkit.errors import FleetError
from fleetkit.ids import RandomIds
from fleetkit.postgres import DatabaseUnavailable, SchemaOutdated, open_pool
from fleetkit.settings import Secret
from local_stack.servers.postgres import running_postgres
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.domain.errors import SessionNotFound
from session_api.domain.session import SessionState
from tests.integration.session_api.fleet import RealFleet, a_real_fleet
from tests.support.fleet_builders import a_session_id
from tests.support.waiting import until


async def _ask_until(fleet: RealFleet, *, answers: bool) -> list[FleetError]:
    """Ask over all connections at once until all, or none, are answered; return the refusals on the way."""
    refused: list[FleetError] = []
    async with asyncio.timeout(60):
        while True:
            asks = (fleet.sessions.get(fleet.caller, a_session_id()) for _ in range(8))
            results = await asyncio.gather(*asks, return_exceptions=True)
            faults = [result for result in results if not isinstance(result, SessionNotFound)]
            for fault in faults:
                assert isinstance(fault, FleetError), repr(fault)
                refused.append(fault)
            if (not faults) if answers else len(faults) == len(results):
                return refused
            await asyncio.sleep(0.05)


async def test_the_pool_recovers_from_a_killed_server(tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres:
        await migrate_fleet(Secret(postgres.dsn))
        async with a_real_fleet(postgres.dsn, pool_size=8) as fleet:
            registration = await fleet.with_node(slots=5)
            before = await fleet.create()
            asking = asyncio.create_task(_ask_until(fleet, answers=False))
            # Every connection that the pool may have is in use by now, and breaks.
            await until(lambda: fleet.pool.get_size() == 8)
            postgres.process.kill()
            refused = await asking
            assert {error.reason for error in refused} == {DatabaseUnavailable.reason}
            assert all(error.retry_after is not None for error in refused)
            await postgres.process.wait_ready()
            await _ask_until(fleet, answers=True)
            assert (await fleet.stored(before.id)).state is SessionState.RUNNING
            await fleet.create()
            assert await fleet.slots_used(registration.node_id) == 2


async def test_a_database_that_is_not_there_is_said_to_be_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        async with open_pool(Secret("postgresql://fleet@127.0.0.1:1/none")):
            pass
    with pytest.raises(DatabaseUnavailable):
        await migrate_fleet(Secret("postgresql://fleet@127.0.0.1:1/none"))


async def test_a_service_on_an_old_schema_says_what_is_missing(empty_database: str) -> None:
    async with open_pool(Secret(empty_database)) as pool:
        database = PostgresDatabase(pool, RandomIds())
        with pytest.raises(SchemaOutdated, match="0001_fleet"):
            await database.check()
        assert await migrate_fleet(Secret(empty_database)) == ["0001_fleet"]
        await database.check()


async def test_two_migrations_at_once_apply_each_script_once(empty_database: str) -> None:
    results = await asyncio.gather(*(migrate_fleet(Secret(empty_database)) for _ in range(3)))
    assert sorted(results) == [[], [], ["0001_fleet"]]


async def test_calls_that_are_cancelled_leave_no_connection_behind(fleet: RealFleet) -> None:
    for _ in range(100):
        calls = [asyncio.create_task(fleet.sessions.get(fleet.caller, a_session_id())) for _ in range(10)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert fleet.pool.get_size() <= 20
    with pytest.raises(SessionNotFound):
        await fleet.sessions.get(fleet.caller, a_session_id())
    assert fleet.pool.get_idle_size() == fleet.pool.get_size()
