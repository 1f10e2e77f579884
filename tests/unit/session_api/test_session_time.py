"""What falls due for a session, and when: deadlines, warnings, idle times, steps that were left half-way."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotOpen, TimeoutLimit
from session_api.domain.leases import HolderKind
from session_api.domain.session import Due, IdleActivity, IdlePolicy, Session, SessionState
from tests.support.fleet_builders import NOON, a_session

_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_INSTANT = timedelta(microseconds=1)


def _due(session: Session, now: datetime) -> Due | None:
    """Return what is due while the node reports all the time."""
    return session.due(now=now, report_time=now)


def _idle_after(seconds: int, activity: IdleActivity = IdleActivity.CONNECTION) -> IdlePolicy:
    return IdlePolicy(timeout=seconds * _SECOND, activity=activity)


def _countdown(session: Session) -> list[float]:
    """Return the minutes after noon at which something is announced, the deadline last."""
    instants = []
    while session.countdown_time is not None:
        now = session.countdown_time
        assert _due(session, now - _INSTANT) is None
        instants.append((now - NOON) / _MINUTE)
        if _due(session, now) is Due.DEADLINE:
            break
        assert _due(session, now) is Due.WARNING
        session = session.expiring(now=now)
    return instants


# ---- warnings and deadlines


@pytest.mark.parametrize(
    ("minutes", "announced"),
    [(5, [4, 5]), (6, [1, 5, 6]), (60, [55, 59, 60]), (1440, [1435, 1439, 1440])],
)
def test_a_session_warns_5_minutes_and_1_minute_ahead_where_it_has_more_time_than_that(
    minutes: int, announced: list[float]
) -> None:
    assert _countdown(a_session(timeout=minutes * _MINUTE)) == announced


def test_warnings_that_were_missed_are_announced_once() -> None:
    session = a_session(timeout=60 * _MINUTE).expiring(now=NOON + 59 * _MINUTE + 30 * _SECOND)
    assert session.warned == _MINUTE
    assert _countdown(session) == [60]


def test_a_warning_is_no_transition_but_it_is_news() -> None:
    session = a_session(timeout=60 * _MINUTE)
    warned = session.expiring(now=NOON + 55 * _MINUTE)
    assert (warned.state, warned.expire_time) == (session.state, session.expire_time)
    assert (warned.warned, warned.sequence) == (5 * _MINUTE, session.sequence + 1)


def test_an_extension_moves_the_deadline_and_the_timeout() -> None:
    session = a_session(timeout=60 * _MINUTE).extended(by=30 * _MINUTE, now=NOON)
    assert (session.timeout, session.expire_time) == (90 * _MINUTE, NOON + 90 * _MINUTE)
    assert _countdown(session) == [85, 89, 90]


def test_an_extension_makes_warnings_come_again() -> None:
    warned = a_session(timeout=60 * _MINUTE).expiring(now=NOON + 59 * _MINUTE)
    assert _countdown(warned.extended(by=60 * _MINUTE, now=NOON + 59 * _MINUTE)) == [115, 119, 120]


def test_an_extension_to_less_than_5_minutes_warns_1_minute_ahead_only() -> None:
    warned = a_session(timeout=10 * _MINUTE).expiring(now=NOON + 9 * _MINUTE)
    assert _countdown(warned.extended(by=3 * _MINUTE, now=NOON + 9 * _MINUTE)) == [12, 13]


def test_a_short_session_that_is_extended_warns_like_a_long_one() -> None:
    assert _countdown(a_session(timeout=5 * _MINUTE).extended(by=_MINUTE, now=NOON)) == [1, 5, 6]


def test_an_extension_up_to_the_limit_is_granted_and_one_past_it_refused() -> None:
    session = a_session(timeout=60 * _MINUTE, lifetime_limit=90 * _MINUTE)
    assert session.extended(by=30 * _MINUTE, now=NOON).timeout == 90 * _MINUTE
    with pytest.raises(TimeoutLimit) as refusal:
        session.extended(by=31 * _MINUTE, now=NOON)
    assert refusal.value.metadata == {"limit_seconds": "5400"}


def test_a_session_is_extended_until_its_deadline_and_not_at_it() -> None:
    session = a_session(timeout=5 * _MINUTE)
    deadline = NOON + 5 * _MINUTE
    assert session.extended(by=_MINUTE, now=deadline - _INSTANT).expire_time == NOON + 6 * _MINUTE
    with pytest.raises(SessionNotOpen) as refusal:
        session.extended(by=_MINUTE, now=deadline)
    assert "timeout" in refusal.value.message


def test_only_a_running_session_is_overdue_or_counts_down() -> None:
    session = a_session(timeout=5 * _MINUTE)
    deadline = NOON + 5 * _MINUTE
    assert [session.is_overdue(now=now) for now in (deadline - _INSTANT, deadline)] == [False, True]
    closing = session.closing(now=NOON, reason=CloseReason.IDLE)
    assert (closing.is_overdue(now=deadline), closing.countdown_time) == (False, None)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 20)), max_size=10))
def test_however_a_session_is_extended_its_countdown_goes_on_until_the_deadline(steps: list[tuple[int, int]]) -> None:
    session, now = a_session(timeout=5 * _MINUTE), NOON
    for seconds, minutes in steps:
        now += seconds * _SECOND
        while (due := _due(session, now)) is Due.WARNING:
            warned = session.expiring(now=now)
            assert warned.countdown_time is not None
            assert warned.countdown_time > now
            session = warned
        if due is Due.DEADLINE:
            break
        session = session.extended(by=minutes * _MINUTE, now=now)
        assert session.countdown_time is not None
        assert session.expire_time is not None
        assert now < session.countdown_time <= session.expire_time


# ---- what is left half-way


@pytest.mark.parametrize(
    ("state", "after", "due"),
    [
        (SessionState.QUEUED, timedelta(minutes=5), Due.QUEUE_TIMEOUT),
        (SessionState.STARTING, timedelta(seconds=60), Due.START_LEFT),
        (SessionState.CLOSING, timedelta(seconds=30), Due.STOP_LEFT),
        (SessionState.RUNNING, timedelta(minutes=4), Due.WARNING),
    ],
)
def test_a_state_that_lasts_too_long_is_due_from_an_instant_on(state: SessionState, after: timedelta, due: Due) -> None:
    session = a_session(state=state, timeout=5 * _MINUTE, queue_timeout=5 * _MINUTE)
    assert session.due_time == NOON + after
    assert [_due(session, NOON + after - _INSTANT), _due(session, NOON + after)] == [None, due]


@pytest.mark.parametrize("state", [SessionState.CLOSED, SessionState.FAILED])
def test_nothing_is_ever_due_for_an_ended_session(state: SessionState) -> None:
    session = a_session(state=state)
    assert (session.due_time, _due(session, NOON + timedelta(days=365))) == (None, None)


# ---- idle times


def test_a_session_without_an_idle_timeout_is_never_idle() -> None:
    assert _due(a_session(timeout=1440 * _MINUTE), NOON + 1000 * _MINUTE) is None


@pytest.mark.parametrize("activity", list(IdleActivity))
def test_a_session_is_idle_after_its_idle_timeout_without_activity(activity: IdleActivity) -> None:
    session = a_session(idle=_idle_after(30, activity))
    assert session.due_time == NOON + 30 * _SECOND
    assert _due(session, NOON + 30 * _SECOND - _INSTANT) is None
    assert _due(session, NOON + 30 * _SECOND) is Due.IDLE


def test_reported_activity_moves_the_idle_time() -> None:
    session = replace(a_session(idle=_idle_after(30)), active_time=NOON + 20 * _SECOND)
    assert [_due(session, NOON + seconds * _SECOND) for seconds in (49, 50)] == [None, Due.IDLE]


def test_an_idle_time_that_nobody_reported_about_does_not_count() -> None:
    session, later = a_session(idle=_idle_after(30)), NOON + 10 * _MINUTE
    assert session.due(now=later, report_time=NOON + 30 * _SECOND - _INSTANT) is None
    assert session.due(now=later, report_time=None) is None
    assert session.due(now=later, report_time=NOON + 30 * _SECOND) is Due.IDLE


def test_a_holder_keeps_a_session_awake_where_connections_count() -> None:
    session = a_session(idle=_idle_after(30)).occupied(HolderKind.AGENT, "a", now=NOON, ttl=None)
    assert _due(session, NOON + 10 * _MINUTE) is None
    released = session.released(1, now=NOON + 10 * _MINUTE)
    assert [_due(released, NOON + 10 * _MINUTE + seconds * _SECOND) for seconds in (29, 30)] == [None, Due.IDLE]


def test_a_person_in_control_keeps_a_session_awake_where_connections_count() -> None:
    session = a_session(idle=_idle_after(30)).controlled("Ada", now=NOON, ttl=10 * _MINUTE)
    assert _due(session, NOON + 9 * _MINUTE) is None
    back = session.uncontrolled(1, now=NOON + 9 * _MINUTE)
    assert [_due(back, NOON + 9 * _MINUTE + seconds * _SECOND) for seconds in (29, 30)] == [None, Due.IDLE]


def test_leases_keep_no_session_awake_where_only_input_counts() -> None:
    session = a_session(idle=_idle_after(30, IdleActivity.INPUT))
    held = session.occupied(HolderKind.AGENT, "a", now=NOON, ttl=None).controlled("Ada", now=NOON, ttl=10 * _MINUTE)
    assert _due(held, NOON + 30 * _SECOND) is Due.IDLE
    released = held.released(1, now=NOON + 20 * _SECOND).uncontrolled(1, now=NOON + 20 * _SECOND)
    assert _due(released, NOON + 30 * _SECOND) is Due.IDLE


def test_a_lease_that_ran_out_is_ended_before_its_session_is_idle() -> None:
    session = a_session(idle=_idle_after(30)).occupied(HolderKind.TASK, "t", now=NOON, ttl=10 * _SECOND)
    now = NOON + 2 * _MINUTE
    assert _due(session, now) is Due.OCCUPANCY_END
    assert _due(session.released(1, now=now), now) is None


# ---- what is most urgent


def test_the_deadline_comes_first_then_idleness_then_leases_then_warnings() -> None:
    now = NOON + 4 * _MINUTE
    session = a_session(timeout=5 * _MINUTE, idle=_idle_after(30, IdleActivity.INPUT))
    session = session.occupied(HolderKind.TASK, "t", now=NOON, ttl=_MINUTE).controlled("Ada", now=NOON, ttl=_MINUTE)
    assert _due(session, NOON + 5 * _MINUTE) is Due.DEADLINE
    assert _due(session, now) is Due.IDLE
    session = replace(session, active_time=now)
    assert _due(session, now) is Due.OCCUPANCY_END
    session = session.released(1, now=now)
    assert _due(session, now) is Due.CONTROL_END
    session = session.uncontrolled(1, now=now)
    assert _due(session, now) is Due.WARNING
    assert _due(session.expiring(now=now), now) is None


_SPANS = st.integers(1, 900).map(lambda seconds: seconds * _SECOND)


@given(
    timeout=st.integers(5, 20).map(lambda minutes: minutes * _MINUTE),
    idle=st.none() | st.builds(IdlePolicy, timeout=_SPANS, activity=st.sampled_from(IdleActivity)),
    holding=st.none() | _SPANS,
    control=st.none() | _SPANS,
)
def test_the_hint_when_something_is_due_is_exact_while_nothing_is_reported(
    timeout: timedelta, idle: IdlePolicy | None, holding: timedelta | None, control: timedelta | None
) -> None:
    session = a_session(timeout=timeout, idle=idle)
    if holding is not None:
        session = session.occupied(HolderKind.TASK, "t", now=NOON, ttl=holding)
    if control is not None:
        session = session.controlled("Ada", now=NOON, ttl=control)
    hint = session.due_time
    assert hint is not None
    assert _due(session, hint - _INSTANT) is None
    assert _due(session, hint) is not None
