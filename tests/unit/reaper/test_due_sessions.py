"""One message that something is due."""

from datetime import timedelta

import pytest

from fleetkit.errors import InvalidArgument, Unavailable
from fleetkit.verdicts import Outcome
from reaper.due_sessions import DueSessions
from tests.support.reaper_sessions import NOON, FakeSessions, session_id


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions()


async def test_a_due_session_is_reaped(sessions: FakeSessions) -> None:
    name = sessions.add(1, due_time=NOON)
    assert (await DueSessions(sessions).handle(name, deliveries=1)).outcome is Outcome.DONE
    assert not sessions.waits(1)


async def test_an_early_message_is_done_because_session_api_schedules_the_next(sessions: FakeSessions) -> None:
    name = sessions.add(1, due_time=NOON + timedelta(seconds=1))
    assert (await DueSessions(sessions).handle(name, deliveries=1)).outcome is Outcome.DONE
    assert sessions.waits(1)


async def test_a_message_for_an_unknown_session_is_done(sessions: FakeSessions) -> None:
    assert (await DueSessions(sessions).handle(session_id(9), deliveries=1)).outcome is Outcome.DONE


async def test_a_message_that_comes_twice_does_no_harm(sessions: FakeSessions) -> None:
    name = sessions.add(1, due_time=NOON)
    outcomes = [(await DueSessions(sessions).handle(name, deliveries=number)).outcome for number in (1, 2)]
    assert outcomes == [Outcome.DONE, Outcome.DONE]


@pytest.mark.parametrize(
    ("failure", "outcome"), [(Unavailable("down"), Outcome.RETRY), (InvalidArgument("bad"), Outcome.GIVEN_UP)]
)
async def test_a_failure_decides_what_becomes_of_the_message(
    sessions: FakeSessions, failure: Exception, outcome: Outcome
) -> None:
    name = sessions.add(1, due_time=NOON)
    sessions.failing[name] = failure
    assert (await DueSessions(sessions).handle(name, deliveries=1)).outcome is outcome
