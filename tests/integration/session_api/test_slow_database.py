"""A database that is slow, and callers who do not wait for it: every wait ends, and no connection is lost."""

import asyncio
import random
import time

import asyncpg

from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotFound
from tests.integration.session_api.fleet import RealFleet, a_real_fleet, outcomes
from tests.integration.session_api.invariants import assert_held
from tests.support.fleet_builders import a_session_id
from tests.support.waiting import eventually, until


async def _lock_waiters(fleet: RealFleet) -> int:
    waiting: int = await fleet.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return waiting


async def _all_connections_are_free(fleet: RealFleet) -> None:
    await until(lambda: fleet.pool.get_idle_size() == fleet.pool.get_size())
    left: int = await fleet.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    )
    assert left == 0


async def test_whoever_waits_for_a_statement_or_for_a_connection_waits_for_seconds_only(migrated: str) -> None:
    async with a_real_fleet(migrated, pool_size=2) as fleet:
        node = await fleet.with_node(slots=5)
        holder = await asyncpg.connect(migrated)
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM fleet.node FOR UPDATE")
        begun = time.monotonic()
        # Both connections wait for the node's row, and everybody else for a connection.
        creating = asyncio.ensure_future(outcomes(fleet.create(), fleet.create()))
        await until(lambda: fleet.pool.get_size() == 2 and fleet.pool.get_idle_size() == 0)
        answered, refused = await outcomes(*(fleet.sessions.get(fleet.caller, a_session_id()) for _ in range(20)))
        assert time.monotonic() - begun < 8
        assert answered == []
        assert {(type(error), error.retry_after is not None) for error in refused} == {(DatabaseUnavailable, True)}
        created, refused = await creating
        assert time.monotonic() - begun < 15
        assert created == []
        assert {type(error) for error in refused} == {DatabaseUnavailable}
        # Nobody waits on in the server either, to take the slot when the row comes free.
        assert await _lock_waiters(fleet) == 0
        await holder.execute("COMMIT")
        await holder.close()
        await fleet.create()
        assert await fleet.slots_used(node.node_id) == 1
        await _all_connections_are_free(fleet)


async def test_a_thousand_calls_that_are_cancelled_leave_no_connection_behind(fleet: RealFleet) -> None:
    chance = random.Random(1)
    for _ in range(50):
        calls = [asyncio.create_task(fleet.sessions.get(fleet.caller, a_session_id())) for _ in range(20)]
        await asyncio.sleep(chance.random() / 100)
        for call in calls:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} <= {asyncio.CancelledError, SessionNotFound}
    assert fleet.pool.get_size() <= 20
    await _all_connections_are_free(fleet)


async def test_creates_whose_callers_leave_at_any_moment_end_as_client_gone(fleet: RealFleet) -> None:
    chance = random.Random(1)
    node = await fleet.with_node(slots=200)
    answered = 0
    for _ in range(20):
        calls = [asyncio.create_task(fleet.create()) for _ in range(10)]
        for call in calls:
            await asyncio.sleep(chance.random() / 500)
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        answered += sum(not isinstance(result, BaseException) for result in results)

    async def the_others_have_ended() -> bool:
        return await fleet.slots_used(node.node_id) == answered

    await eventually(the_others_have_ended, within=10, what="every session whose caller left has ended")
    rows = await fleet.pool.fetch("SELECT DISTINCT close_reason FROM fleet.session WHERE end_time IS NOT NULL")
    assert [row["close_reason"] for row in rows] == [CloseReason.CLIENT_GONE.value]
    await assert_held(fleet.pool)
    await _all_connections_are_free(fleet)
