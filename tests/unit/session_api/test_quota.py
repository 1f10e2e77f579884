"""What an organization may use, and whether a wish fits into it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.errors import QuotaExceeded
from session_api.domain.organization import Consumption, Limits, check_quota, may_open, start_of_day
from session_api.domain.session import MAX_TIMEOUT
from tests.support.fleet_builders import NOON

_MINUTE = timedelta(minutes=1)
_EVERYTHING = Limits(max_open_sessions=1, max_creates_per_minute=6, max_minutes_per_day=10)


def _used(*, creates: int = 0, minutes: float = 0.0) -> Consumption:
    return Consumption(open_sessions=5, creates_last_minute=creates, used_today=minutes * _MINUTE)


def test_limits_that_are_not_reached_let_a_session_in_whatever_is_open() -> None:
    check_quota(_EVERYTHING, _used(creates=5, minutes=9.9), now=NOON)
    check_quota(Limits(), _used(creates=10**6, minutes=10**6), now=NOON)


def test_creates_per_minute_come_back_one_by_one() -> None:
    with pytest.raises(QuotaExceeded) as refusal:
        check_quota(_EVERYTHING, _used(creates=6), now=NOON)
    assert refusal.value.message == "The organization may create 6 sessions a minute."
    assert refusal.value.retry_after == timedelta(seconds=10)
    assert refusal.value.metadata == {"quota": "creates_per_minute", "limit": "6", "used": "6"}


def test_minutes_per_day_come_back_at_midnight() -> None:
    with pytest.raises(QuotaExceeded) as refusal:
        check_quota(_EVERYTHING, _used(minutes=10.4), now=NOON)
    assert refusal.value.message == "The organization has used its 10 minutes of today (UTC)."
    assert refusal.value.retry_after == timedelta(hours=12)
    assert refusal.value.metadata == {"quota": "minutes_per_day", "limit": "10", "used": "10"}


def test_an_organization_that_may_have_no_sessions_is_not_let_wait_for_one() -> None:
    with pytest.raises(QuotaExceeded) as refusal:
        check_quota(Limits(max_open_sessions=0), _used(), now=NOON)
    assert refusal.value.metadata == {"quota": "open_sessions", "limit": "0", "used": "5"}


@pytest.mark.parametrize("limits", [Limits(max_creates_per_minute=0), Limits(max_minutes_per_day=0)])
def test_a_limit_of_nothing_lets_nobody_in(limits: Limits) -> None:
    with pytest.raises(QuotaExceeded) as refusal:
        check_quota(limits, _used(), now=NOON)
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after > timedelta(0)


@pytest.mark.parametrize(("limit", "expected"), [(None, True), (0, False), (5, False), (6, True)])
def test_one_more_session_fits_below_the_limit(limit: int | None, expected: bool) -> None:
    assert may_open(Limits(max_open_sessions=limit), 5) is expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), False),
        (Limits(max_timeout=_MINUTE), False),
        (Limits(max_open_sessions=0), True),
        (Limits(max_creates_per_minute=1), True),
        (Limits(max_minutes_per_day=1), True),
    ],
)
def test_only_limits_that_count_something_ask_for_counting(limits: Limits, expected: bool) -> None:
    assert limits.count_something is expected


def test_a_cap_shortens_the_longest_lifetime_and_never_lengthens_it() -> None:
    assert Limits().lifetime == MAX_TIMEOUT
    assert Limits(max_timeout=30 * _MINUTE).lifetime == 30 * _MINUTE
    assert Limits(max_timeout=10 * MAX_TIMEOUT).lifetime == MAX_TIMEOUT


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # the bounds of a strategy with timezones are naive
def test_a_day_begins_at_most_a_day_ago_at_midnight(now: datetime) -> None:
    start = start_of_day(now)
    assert timedelta(0) <= now - start < timedelta(days=1)
    assert (start.hour, start.minute, start.second, start.microsecond, start.date()) == (0, 0, 0, 0, now.date())
