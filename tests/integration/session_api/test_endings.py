"""Whoever ends a session, and whoever else is at it at that moment: it ends once, for one reason."""

import asyncio
from datetime import timedelta

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotOpen
from session_api.domain.session import Session, SessionState
from tests.integration.session_api.fleet import RealFleet, outcomes
from tests.integration.session_api.invariants import held_throughout
from tests.support.fleet_builders import a_report

_TIMES = 100
_MINUTE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)


async def _ended_once(fleet: RealFleet, session: Session) -> Session:
    ended = await fleet.stored(session.id)
    news = await fleet.news(session.id)
    assert ended.state.is_final
    assert [event.sequence for event in news] == list(range(1, ended.sequence + 1))
    assert [event.type for event in news if event.type in {"closed", "failed"}] == [ended.state.lower()]
    assert len({event.close_reason for event in news if event.close_reason}) == 1
    used = await fleet.pool.fetch(
        "SELECT end_time - start_time AS used FROM fleet.usage WHERE session_id = $1", ended.id
    )
    assert ended.start_time is not None
    assert ended.end_time is not None
    assert [row["used"] for row in used] == [ended.end_time - ended.start_time]
    return ended


async def test_a_close_a_deadline_a_crash_and_an_extension_at_once_end_a_session_once(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    registration = await fleet.with_node(slots=3)
    first, second, third = (replica.plane for replica in fleet.replicas)
    async with held_throughout(fleet.pool):
        for time in range(_TIMES):
            session = await fleet.create(at=time)
            await fleet.expiring_in(session, (time % 10) * _MILLISECOND)
            crash = a_report(registration, ended=((session, CloseReason.BROWSER_CRASHED),))
            _, refused = await outcomes(
                first.sessions.close(fleet.caller, session.id),
                second.sessions.close(fleet.caller, session.id),
                second.reaping.reap(session.id),
                third.reaping.reap(session.id),
                third.nodes.heartbeat(crash),
                first.sessions.extend(fleet.caller, session.id, by=_MINUTE),
            )
            assert {type(error) for error in refused} <= {SessionNotOpen}
            ended = await _ended_once(fleet, session)
            assert ended.close_reason in {
                CloseReason.USER_REQUESTED,
                CloseReason.TIMED_OUT,
                CloseReason.BROWSER_CRASHED,
            }
    assert await fleet.slots_used(registration.node_id) == 0


async def test_a_session_is_either_extended_or_ended_at_its_deadline_and_never_both(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=_TIMES)
    first, second, third = (replica.plane for replica in fleet.replicas)
    seen = set()
    # The first is long past its deadline, the last far from it; between them it comes while all are at it.
    for span in (-50, *(time % 20 for time in range(_TIMES - 2)), 500):
        session = await fleet.create()
        await fleet.expiring_in(session, span * _MILLISECOND)
        before = await fleet.stored(session.id)
        extending = asyncio.ensure_future(outcomes(first.sessions.extend(fleet.caller, session.id, by=_MINUTE)))
        reaped = await asyncio.gather(second.reaping.reap(session.id), third.reaping.reap(session.id))
        extended, refused = await extending
        after = await fleet.stored(session.id)
        seen.add(after.state)
        assert before.expire_time is not None
        if extended:
            assert (after.state, after.expire_time) == (SessionState.RUNNING, before.expire_time + _MINUTE)
            assert after.close_reason is None
        else:
            assert [type(error) for error in refused] == [SessionNotOpen]
            assert (after.state, after.close_reason) == (SessionState.CLOSED, CloseReason.TIMED_OUT)
            assert after.expire_time == before.expire_time
            assert SessionState.CLOSED in {session.state for session in reaped}
            await _ended_once(fleet, session)
    assert seen == {SessionState.RUNNING, SessionState.CLOSED}


async def test_a_reaper_that_was_held_up_does_not_end_a_session_that_was_extended_meanwhile(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node()
    session = await fleet.create()
    await fleet.expiring_in(session, 300 * _MILLISECOND)
    # It waits for the deadline, which is near.
    reaping = asyncio.ensure_future(fleet.plane(1).reaping.reap(session.id))
    await asyncio.sleep(0.05)
    extended = await fleet.sessions.extend(fleet.caller, session.id, by=_MINUTE)
    assert (await reaping).state is SessionState.RUNNING
    assert (await fleet.plane(2).reaping.reap(session.id)).expire_time == extended.expire_time
    assert (await fleet.stored(session.id)).state is SessionState.RUNNING


async def test_a_close_while_the_browser_comes_up_leaves_no_slot_taken(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    registration = await fleet.with_node(slots=2)
    async with held_throughout(fleet.pool):
        for time in range(50):
            fleet.gateway.may_start.clear()
            fleet.gateway.starting.clear()
            creating = asyncio.ensure_future(outcomes(fleet.create(at=time)))
            await fleet.gateway.starting.wait()
            (row,) = await fleet.pool.fetch("SELECT id FROM fleet.session WHERE state = 'STARTING'")
            fleet.gateway.may_start.set()
            # Up to a few milliseconds later, the browser may be up or not.
            await asyncio.sleep(time % 5 / 1000)
            closed = await fleet.plane(time + 1).sessions.close(fleet.caller, row["id"])
            created, refused = await creating
            assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
            assert len(created) + len(refused) == 1
            assert {type(error) for error in refused} <= {SessionNotOpen}
            assert row["id"] in {session_id for session_id, _ in fleet.gateway.stopped}
    assert await fleet.slots_used(registration.node_id) == 0
