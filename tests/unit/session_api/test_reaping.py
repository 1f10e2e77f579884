"""What falls due for a session is done: once, by the database's clock, whoever asks for it."""

import asyncio
import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotFound, SessionNotOpen
from session_api.domain.leases import HolderKind
from session_api.domain.node import NodeReport, Registration
from session_api.domain.session import IdleActivity, IdlePolicy, Session, SessionState
from tests.support.fleet_builders import NOON, a_caller, a_report, a_session, a_session_id
from tests.unit.session_api.fleet import Fleet, a_request
from tests.unit.session_api.virtual_time import settled

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)


async def _running(fleet: Fleet, *, minutes: int = 60, idle: IdlePolicy | None = None) -> tuple[Session, Registration]:
    registration = await fleet.with_node()
    return await fleet.create(request=a_request(timeout=minutes * _MINUTE, idle=idle)), registration


def _schedules(fleet: Fleet, session: Session) -> list[datetime | None]:
    subject = f"schedule.session.{session.id}"
    return [news.due_time for news in fleet.database.outbox if (news.subject, news.action) == (subject, "PUBLISH")]


def _ended(fleet: Fleet, session: Session) -> tuple[SessionState, CloseReason | None]:
    stored = fleet.database.session(session.id)
    return stored.state, stored.close_reason


async def _reap(fleet: Fleet, session: Session) -> Session:
    return await fleet.plane.reaping.reap(session.id)


# ---- deadlines


async def test_a_session_is_closed_when_its_deadline_has_come(fleet: Fleet) -> None:
    session, registration = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE)
    reaped = await _reap(fleet, session)
    assert (reaped.state, reaped.close_reason) == (SessionState.CLOSED, CloseReason.TIMED_OUT)
    assert fleet.gateway.stopped == [(session.id, CloseReason.TIMED_OUT)]
    assert fleet.slots_used(registration) == 0
    assert [record.used for record in fleet.database.usage()] == [5 * _MINUTE]


async def test_an_early_call_does_nothing_that_anybody_could_see(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=60)
    before, news = fleet.database.session(session.id), fleet.database.outbox
    fleet.clock.step(30 * _MINUTE)
    reaped = await _reap(fleet, session)
    assert replace(reaped, revision=0) == replace(before, revision=0)
    assert fleet.database.outbox == news


async def test_a_call_that_is_early_by_a_moment_waits_for_the_deadline(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE - _SECOND)
    await _reap(fleet, session)
    reap = asyncio.create_task(_reap(fleet, session))
    await settled()
    fleet.clock.step(_SECOND)
    assert (await reap).close_reason is CloseReason.TIMED_OUT


async def test_a_clock_that_is_ahead_closes_nothing(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE - _INSTANT)
    assert (await _reap(fleet, session)).state is SessionState.RUNNING


async def test_an_old_deadline_does_nothing_to_an_extended_session(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=5)
    await fleet.plane.sessions.extend(a_caller(), session.id, by=5 * _MINUTE)
    fleet.clock.step(5 * _MINUTE)
    assert (await _reap(fleet, session)).state is SessionState.RUNNING
    fleet.clock.step(5 * _MINUTE)
    assert (await _reap(fleet, session)).close_reason is CloseReason.TIMED_OUT


async def test_two_reapers_end_a_session_once(fleet: Fleet) -> None:
    session, registration = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE)
    await asyncio.gather(*(_reap(fleet, session) for _ in range(3)))
    await _reap(fleet, session)
    assert fleet.database.types_of(session.id) == ["created", "started", "closing", "closed"]
    assert len(fleet.gateway.stopped) == 1
    assert len(fleet.database.usage()) == 1
    assert fleet.slots_used(registration) == 0


@pytest.mark.parametrize("at", [5 * _MINUTE - _INSTANT, 5 * _MINUTE, 5 * _MINUTE + _INSTANT])
@pytest.mark.parametrize("extension_first", [True, False])
async def test_a_session_at_its_deadline_is_extended_or_closed_and_never_both(
    fleet: Fleet, at: timedelta, extension_first: bool
) -> None:
    session, _ = await _running(fleet, minutes=5)
    fleet.clock.step(at)
    both = [fleet.plane.sessions.extend(a_caller(), session.id, by=5 * _MINUTE), _reap(fleet, session)]
    order = both if extension_first else both[::-1]
    outcomes = await asyncio.gather(*order, return_exceptions=True)
    extended = outcomes[0 if extension_first else 1]
    if at < 5 * _MINUTE:
        assert isinstance(extended, Session)
        assert _ended(fleet, session) == (SessionState.RUNNING, None)
    else:
        assert isinstance(extended, SessionNotOpen)
        assert _ended(fleet, session) == (SessionState.CLOSED, CloseReason.TIMED_OUT)


@pytest.mark.parametrize("close_first", [True, False])
async def test_a_close_at_the_deadline_leaves_one_reason_and_one_bill(fleet: Fleet, close_first: bool) -> None:
    session, registration = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE)
    both = [fleet.close(session), _reap(fleet, session)]
    await asyncio.gather(*(both if close_first else both[::-1]))
    stored = fleet.database.session(session.id)
    assert stored.close_reason in {CloseReason.USER_REQUESTED, CloseReason.TIMED_OUT}
    announced = [news.session for news in fleet.database.outbox if news.subject.endswith(("closing", "closed"))]
    assert {row.close_reason for row in announced if row is not None} == {stored.close_reason}
    assert fleet.database.types_of(session.id)[2:] == ["closing", "closed"]
    assert len(fleet.database.usage()) == 1
    assert fleet.slots_used(registration) == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_whatever_ends_a_session_first_ends_it_alone(fleet: Fleet, order: tuple[int, ...]) -> None:
    session, registration = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE)
    crash = a_report(registration, ended=((session, CloseReason.BROWSER_CRASHED),))
    ends = [
        fleet.close(session),
        _reap(fleet, session),
        fleet.plane.nodes.heartbeat(crash),
        fleet.plane.sessions.extend(a_caller(), session.id, by=_MINUTE),
    ]
    outcomes = await asyncio.gather(*(ends[number] for number in order), return_exceptions=True)
    assert isinstance(outcomes[order.index(3)], SessionNotOpen)
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1
    announced = [news.session.close_reason for news in fleet.database.outbox if news.session is not None]
    assert len(set(announced) - {None}) == 1
    assert sum(what in {"closed", "failed"} for what in fleet.database.types_of(session.id)) == 1
    assert len(fleet.database.usage()) == 1
    assert fleet.slots_used(registration) == 0


async def test_a_reaper_that_is_gone_does_not_leave_a_close_half_way(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=5)
    fleet.clock.step(5 * _MINUTE)
    fleet.gateway.may_stop.clear()
    reap = asyncio.create_task(_reap(fleet, session))
    await fleet.gateway.stopping.wait()
    reap.cancel()
    fleet.gateway.may_stop.set()
    await fleet.in_state(session.id, SessionState.CLOSED)


async def _report_twice(fleet: Fleet, report: NodeReport) -> None:
    """What a report says counts once the next one has come."""
    for _ in range(2):
        await fleet.plane.nodes.heartbeat(report)


async def test_reaping_a_session_that_never_was_is_refused(fleet: Fleet) -> None:
    with pytest.raises(SessionNotFound):
        await fleet.plane.reaping.reap(a_session_id())


# ---- warnings


async def test_a_session_says_once_at_5_minutes_and_once_at_1_minute_that_it_expires(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=60)
    for minutes in (55, 4):
        fleet.clock.step(minutes * _MINUTE)
        for _ in range(2):
            assert (await _reap(fleet, session)).state is SessionState.RUNNING
    assert fleet.database.types_of(session.id) == ["created", "started", "expiring", "expiring"]
    assert _schedules(fleet, session) == [NOON + minutes * _MINUTE for minutes in (55, 59, 60)]


async def test_an_extended_session_warns_anew(fleet: Fleet) -> None:
    session, _ = await _running(fleet, minutes=6)
    fleet.clock.step(_MINUTE)
    await _reap(fleet, session)
    await fleet.plane.sessions.extend(a_caller(), session.id, by=10 * _MINUTE)
    fleet.clock.step(10 * _MINUTE)
    await _reap(fleet, session)
    assert fleet.database.types_of(session.id)[2:] == ["expiring", "extended", "expiring"]
    assert _schedules(fleet, session) == [NOON + minutes * _MINUTE for minutes in (1, 5, 11, 15)]


# ---- idleness


async def test_a_session_is_idle_only_after_its_node_reported(fleet: Fleet) -> None:
    session, registration = await _running(fleet, idle=IdlePolicy(timeout=30 * _SECOND))
    fleet.clock.step(40 * _SECOND)
    assert (await _reap(fleet, session)).state is SessionState.RUNNING
    await _report_twice(fleet, a_report(registration, running=(session,)))
    assert (await _reap(fleet, session)).close_reason is CloseReason.IDLE
    assert _ended(fleet, session) == (SessionState.CLOSED, CloseReason.IDLE)


async def test_a_report_that_is_not_stored_yet_makes_nobody_idle(fleet: Fleet) -> None:
    session, registration = await _running(fleet, idle=IdlePolicy(timeout=30 * _SECOND))
    fleet.clock.step(40 * _SECOND)
    # The first statement of a heartbeat, which says that a client is connected; its second one is under way.
    async with fleet.database.single() as tx:
        await tx.nodes.beat(a_report(registration, running=(session,), clients=1))
    assert (await _reap(fleet, session)).state is SessionState.RUNNING


@pytest.mark.parametrize(("clients", "viewers"), [(1, 0), (0, 1)])
async def test_whoever_is_connected_keeps_a_session_awake(fleet: Fleet, clients: int, viewers: int) -> None:
    session, registration = await _running(fleet, idle=IdlePolicy(timeout=30 * _SECOND))
    for _ in range(20):
        fleet.clock.step(5 * _SECOND)
        report = a_report(registration, running=(session,), clients=clients, viewers=viewers)
        await fleet.plane.nodes.heartbeat(report)
        assert (await _reap(fleet, session)).state is SessionState.RUNNING
    for _ in range(7):
        fleet.clock.step(5 * _SECOND)
        await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,)))
    assert (await _reap(fleet, session)).close_reason is CloseReason.IDLE


async def test_a_client_that_says_nothing_keeps_no_session_awake_where_only_input_counts(fleet: Fleet) -> None:
    idle = IdlePolicy(timeout=30 * _SECOND, activity=IdleActivity.INPUT)
    session, registration = await _running(fleet, idle=idle)
    fleet.clock.step(20 * _SECOND)
    report = a_report(registration, running=(session,), clients=1, input_idle=5 * _SECOND)
    await fleet.plane.nodes.heartbeat(report)
    # The last input came at 15 s.
    for seconds, state in ((44, SessionState.RUNNING), (45, SessionState.CLOSED)):
        fleet.clock.step(NOON + seconds * _SECOND - fleet.clock.now())
        idle_for = fleet.clock.now() - (NOON + 15 * _SECOND)
        await _report_twice(fleet, a_report(registration, running=(session,), clients=1, input_idle=idle_for))
        assert (await _reap(fleet, session)).state is state


async def test_a_holder_keeps_a_session_awake_without_being_connected(fleet: Fleet) -> None:
    session, registration = await _running(fleet, idle=IdlePolicy(timeout=30 * _SECOND))
    await fleet.plane.leasing.occupy(a_caller(), session.id, kind=HolderKind.AGENT, holder_id="a", ttl=None)
    fleet.clock.step(10 * _MINUTE)
    await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,)))
    assert (await _reap(fleet, session)).state is SessionState.RUNNING


# ---- leases


async def test_leases_that_ran_out_are_ended_and_announced_once(fleet: Fleet) -> None:
    session, _ = await _running(fleet)
    await fleet.plane.leasing.occupy(a_caller(), session.id, kind=HolderKind.TASK, holder_id="t", ttl=_MINUTE)
    await fleet.plane.leasing.take_control(a_caller(), session.id, holder="Ada", ttl=2 * _MINUTE, take_over=False)
    fleet.clock.step(_MINUTE)
    assert (await _reap(fleet, session)).occupancy is None
    fleet.clock.step(_MINUTE)
    for _ in range(2):
        assert (await _reap(fleet, session)).control is None
    assert fleet.database.types_of(session.id)[2:] == ["occupied", "control_taken", "released", "control_released"]


# ---- what was left half-way


@pytest.mark.parametrize(
    ("state", "after", "expected"),
    [
        (SessionState.STARTING, 60 * _SECOND, (SessionState.FAILED, CloseReason.START_FAILED)),
        (SessionState.CLOSING, 30 * _SECOND, (SessionState.CLOSED, CloseReason.TIMED_OUT)),
    ],
)
async def test_what_was_left_half_way_is_finished_after_its_time(
    fleet: Fleet, state: SessionState, after: timedelta, expected: tuple[SessionState, CloseReason]
) -> None:
    held, registration = await _running(fleet)
    left = a_session(state=state, allocation=held.allocation, reason=CloseReason.TIMED_OUT)
    fleet.database.put(left)
    fleet.clock.step(after - _INSTANT)
    # Whoever began is still at it.
    assert (await _reap(fleet, left)).state is state
    assert fleet.gateway.stopped == []
    fleet.clock.step(_INSTANT)
    await _reap(fleet, left)
    assert _ended(fleet, left) == expected
    assert fleet.slots_used(registration) == 0


async def test_a_start_that_was_left_half_way_is_not_billed_and_a_stop_is(fleet: Fleet) -> None:
    held, _ = await _running(fleet)
    starting = a_session(state=SessionState.STARTING, allocation=held.allocation)
    closing = a_session(state=SessionState.CLOSING, allocation=held.allocation)
    fleet.database.put(starting, closing)
    fleet.clock.step(_MINUTE)
    for session in (starting, closing):
        await _reap(fleet, session)
    assert [record.session_id for record in fleet.database.usage()] == [closing.id]
