"""One pass over what is overdue, and one deadline's message."""

from datetime import datetime, timedelta

import pytest

from fleetkit.errors import Unavailable
from reaper.due_sessions import DueSessions
from reaper.policy import Deadline, Outcome
from reaper.sweeper import Sweeper, SweepLimits, SweepReport
from tests.support.reaper_sessions import NOON, FakeSessions, session_id

MINUTE = timedelta(minutes=1)


class FixedClock:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions()


def a_sweeper(sessions: FakeSessions, *, clock: datetime = NOON, limit: int = 1000) -> Sweeper:
    return Sweeper(sessions=sessions, clock=FixedClock(clock), limits=SweepLimits(sessions=limit))


async def test_a_pass_ends_the_overdue_and_no_others(sessions: FakeSessions) -> None:
    sessions.add(1, expire_time=NOON - MINUTE)
    sessions.add(2, expire_time=NOON + MINUTE)
    assert await a_sweeper(sessions).sweep() == SweepReport(found=1, ended=1, failed=0)
    assert [sessions.is_open(number) for number in (1, 2)] == [False, True]


async def test_a_second_pass_finds_nothing(sessions: FakeSessions) -> None:
    sessions.add(1, expire_time=NOON - MINUTE)
    await a_sweeper(sessions).sweep()
    assert await a_sweeper(sessions).sweep() == SweepReport(found=0, ended=0, failed=0)


async def test_a_clock_that_runs_ahead_ends_nothing_early(sessions: FakeSessions) -> None:
    sessions.add(1, expire_time=NOON + MINUTE)
    report = await a_sweeper(sessions, clock=NOON + 10 * MINUTE).sweep()
    assert report == SweepReport(found=1, ended=0, failed=0)
    assert sessions.is_open(1)


async def test_one_session_that_fails_does_not_keep_the_others_open(sessions: FakeSessions) -> None:
    for number in (1, 2, 3):
        sessions.add(number, expire_time=NOON - MINUTE)
    sessions.failing[session_id(2)] = Unavailable("down")
    assert await a_sweeper(sessions).sweep() == SweepReport(found=3, ended=2, failed=1)


async def test_a_pass_is_bounded_and_the_next_takes_the_rest(sessions: FakeSessions) -> None:
    for number in range(5):
        sessions.add(number, expire_time=NOON - MINUTE)
    sweeper = a_sweeper(sessions, limit=3)
    assert [(await sweeper.sweep()).found for _ in range(3)] == [3, 2, 0]


async def test_a_pass_without_session_api_says_so(sessions: FakeSessions) -> None:
    sessions.list_failure = Unavailable("down")
    with pytest.raises(Unavailable):
        await a_sweeper(sessions).sweep()


@pytest.mark.parametrize(("expire_time", "outcome"), [(NOON, Outcome.DONE), (NOON + MINUTE, Outcome.RETRY)])
async def test_a_due_session_is_ended_and_an_early_message_kept(
    sessions: FakeSessions, expire_time: datetime, outcome: Outcome
) -> None:
    name = sessions.add(1, expire_time=expire_time)
    verdict = await DueSessions(sessions).handle(Deadline(session_id=name, expire_time=expire_time), deliveries=1)
    assert verdict.outcome is outcome
    assert sessions.is_open(1) is (outcome is Outcome.RETRY)


async def test_a_message_for_an_unknown_session_is_done(sessions: FakeSessions) -> None:
    verdict = await DueSessions(sessions).handle(Deadline(session_id=session_id(9), expire_time=NOON), deliveries=1)
    assert verdict.outcome is Outcome.DONE
