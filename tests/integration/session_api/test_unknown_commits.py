"""A connection breaks in the middle of a COMMIT: whoever asks again under the same key learns what became of it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.close_reason import CloseReason
from session_api.domain.session import Session, SessionState
from tests.integration.session_api.fleet import RealFleet, a_real_fleet, a_request
from tests.integration.session_api.invariants import assert_held
from tests.integration.session_api.proxy import Cut, CuttingProxy

_FIRST_TWO = (1, 2)


@pytest.fixture
async def proxy(migrated: str) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(migrated)
    async with proxy.serving():
        yield proxy


@pytest.fixture
async def fleet(proxy: CuttingProxy) -> AsyncIterator[RealFleet]:
    async with a_real_fleet(proxy.dsn, replicas=2) as fleet:
        await fleet.with_node(slots=10)
        yield fleet


async def _sessions(fleet: RealFleet) -> list[Session]:
    rows = await fleet.pool.fetch("SELECT id FROM fleet.session ORDER BY id")
    return [await fleet.stored(row["id"]) for row in rows]


@pytest.mark.parametrize("cut", Cut)
async def test_a_create_whose_outcome_is_unknown_is_found_by_its_key(
    fleet: RealFleet, proxy: CuttingProxy, cut: Cut
) -> None:
    # It commits when the session has its slot, and when its browser is up.
    for commit in _FIRST_TWO:
        request = a_request(request_id=f"key-{commit}")
        proxy.cut_commit(commit, cut)
        with pytest.raises(DatabaseUnavailable) as refused:
            await fleet.create(request)
        assert refused.value.retry_after is not None
        again = await fleet.create(request, at=1)
        assert again.state is SessionState.RUNNING
        assert (await fleet.create(request)).id == again.id
    assert proxy.cuts == 2
    assert [session.state for session in await _sessions(fleet)] == [SessionState.RUNNING] * 2
    await assert_held(fleet.pool)


@pytest.mark.parametrize("cut", Cut)
async def test_a_close_whose_outcome_is_unknown_is_finished_by_the_next(
    fleet: RealFleet, proxy: CuttingProxy, cut: Cut
) -> None:
    # It commits when the end begins, and at the end.
    for commit in _FIRST_TWO:
        session = await fleet.create()
        proxy.cut_commit(commit, cut)
        with pytest.raises(DatabaseUnavailable):
            await fleet.close(session)
        closed = await fleet.close(session, at=1)
        assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
        assert await fleet.announced(session.id) == ["created", "started", "closing", "closed"]
    assert proxy.cuts == 2
    await assert_held(fleet.pool)


@pytest.mark.parametrize("cut", [Cut.BEFORE_THE_SERVER_ANSWERS, Cut.BEFORE_THE_CLIENT_HEARS])
async def test_a_create_without_a_key_whose_outcome_is_unknown_gives_its_slot_back(
    fleet: RealFleet, proxy: CuttingProxy, cut: Cut
) -> None:
    proxy.cut_commit(1, cut)
    with pytest.raises(DatabaseUnavailable):
        await fleet.create()
    (left,) = await _sessions(fleet)
    assert left.state is SessionState.STARTING
    await fleet.pool.execute("UPDATE fleet.session SET state_time = state_time - $1::interval", timedelta(minutes=1))
    reaped = await fleet.reaping.reap(left.id)
    assert (reaped.state, reaped.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert reaped.allocation is not None
    assert await fleet.slots_used(reaped.allocation.node_id) == 0
