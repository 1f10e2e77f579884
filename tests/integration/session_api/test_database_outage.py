"""Postgres goes and comes back: answers are typed meanwhile, nobody ends for it, and the service is whole soon after."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from fleetkit.errors import FleetError
from fleetkit.lifecycle import background
from fleetkit.postgres import DatabaseUnavailable
from fleetkit.settings import Secret
from local_stack.servers.postgres import RunningPostgres, running_postgres
from session_api.adapters.postgres.database import migrate_fleet
from session_api.domain.errors import SessionNotFound
from session_api.domain.identifiers import SessionId
from session_api.domain.node import NodeState, Registration
from session_api.domain.session import Session, SessionState
from tests.integration.session_api.fleet import POLICY, RealFleet, a_real_fleet, a_request, outcomes
from tests.integration.session_api.invariants import assert_held
from tests.support.fleet_builders import a_report, a_session_id
from tests.support.waiting import until

_MINUTE = timedelta(minutes=1)
_LEASE = timedelta(seconds=3)
# Longer than the lease of a node, and than the break after which nobody's silence counts.
_OUTAGE_SECONDS = 7.0


async def _ask_until(fleet: RealFleet, *, answers: bool) -> list[FleetError]:
    """Ask over all connections at once until all, or none, are answered; return the refusals on the way."""
    refused: list[FleetError] = []
    async with asyncio.timeout(60):
        while True:
            asks = (fleet.sessions.get(fleet.caller, a_session_id()) for _ in range(8))
            _, errors = await outcomes(*asks)
            faults = [error for error in errors if not isinstance(error, SessionNotFound)]
            refused.extend(faults)
            if (not faults) if answers else len(faults) == len(errors):
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


@contextlib.asynccontextmanager
async def _away(postgres: RunningPostgres) -> AsyncIterator[None]:
    """Have Postgres stopped as by `pg_ctl stop -m immediate` within the block."""
    postgres.process.kill(signal.SIGQUIT)
    await postgres.process.stop()
    yield
    await postgres.process.start()


async def _live(fleet: RealFleet, registration: Registration, running: tuple[Session, ...]) -> None:
    """Report as a node and look for silent nodes as reapers do, whatever the answers are."""
    while True:
        for replica in fleet.replicas:
            with contextlib.suppress(DatabaseUnavailable):
                await replica.plane.nodes.heartbeat(a_report(registration, running=running))
            with contextlib.suppress(DatabaseUnavailable):
                await replica.plane.reaping.reap_nodes()
        await asyncio.sleep(0.25)


async def test_an_outage_that_is_longer_than_a_nodes_lease_ends_no_session(tmp_path: Path) -> None:
    policy = replace(POLICY, node_lease=_LEASE)
    async with running_postgres(tmp_path) as postgres:
        await migrate_fleet(Secret(postgres.dsn))
        async with a_real_fleet(postgres.dsn, replicas=2, policy=policy) as fleet:
            registration = await fleet.with_node(slots=5)
            before = (await fleet.create(), await fleet.create(), await fleet.create())
            async with background(_live(fleet, registration, before)):
                async with _away(postgres):
                    await _answered_meanwhile(fleet, before[0].id)
                returned = time.monotonic()
                for replica in range(2):
                    await _create_until_answered(fleet, at=replica)
                assert time.monotonic() - returned < 10
                # Whoever was silent by fault of their own would be lost by now.
                await asyncio.sleep(_LEASE.total_seconds() + 1)
                for session in before:
                    after = await fleet.stored(session.id)
                    assert (after.state, after.expire_time) == (SessionState.RUNNING, session.expire_time)
                assert (await fleet.node(registration.node_id)).state is NodeState.ACTIVE
            await assert_held(fleet.pool)


async def _answered_meanwhile(fleet: RealFleet, session_id: SessionId) -> None:
    """Ask for everything while the database is away; every answer comes soon, and says to come again."""
    end = time.monotonic() + _OUTAGE_SECONDS
    while time.monotonic() < end:
        plane = fleet.plane(1)
        begun = time.monotonic()
        answered, refused = await outcomes(
            *(fleet.create(a_request(request_id=key), at=number) for number, key in enumerate(["", "key"])),
            plane.sessions.get(fleet.caller, session_id),
            plane.sessions.extend(fleet.caller, session_id, by=_MINUTE),
            plane.sessions.close(fleet.caller, session_id),
            plane.reaping.reap(session_id),
        )
        assert answered == []
        assert {(type(error), error.retry_after is not None) for error in refused} == {(DatabaseUnavailable, True)}
        assert time.monotonic() - begun < 6
        await asyncio.sleep(0.2)


async def _create_until_answered(fleet: RealFleet, *, at: int) -> None:
    while True:
        with contextlib.suppress(DatabaseUnavailable):
            assert (await fleet.create(at=at)).state is SessionState.RUNNING
            return
        await asyncio.sleep(0.1)
