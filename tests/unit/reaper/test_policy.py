"""What becomes of a deadline's message."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetkit.errors import FleetError, InvalidArgument, NotFound, PermissionDenied, Unavailable
from reaper.policy import (
    MAX_DELIVERIES,
    Deadline,
    Outcome,
    SessionId,
    SessionView,
    after_answer,
    after_failure,
    parse_session_id,
)

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SESSION = SessionId(f"pbs_{'1':0>26}")
DEADLINE = Deadline(session_id=SESSION, expire_time=NOON)


def a_session(*, open: bool = True, expire_time: datetime | None = NOON) -> SessionView:  # noqa: A002  # its name
    return SessionView(id=SESSION, open=open, expire_time=expire_time)


def test_a_session_that_has_ended_needs_no_message_any_more() -> None:
    assert after_answer(DEADLINE, a_session(open=False), deliveries=1).outcome is Outcome.DONE


def test_an_extended_session_leaves_the_rest_to_the_message_of_its_new_deadline() -> None:
    later = a_session(expire_time=NOON + timedelta(minutes=5))
    assert after_answer(DEADLINE, later, deliveries=1).outcome is Outcome.DONE


def test_a_message_that_is_early_by_the_databases_clock_comes_again_soon() -> None:
    verdict = after_answer(DEADLINE, a_session(), deliveries=1)
    assert verdict.outcome is Outcome.RETRY
    assert verdict.delay <= timedelta(seconds=1)


def test_an_unknown_session_needs_no_message() -> None:
    assert after_failure(NotFound("none"), deliveries=1).outcome is Outcome.DONE


def test_a_refused_id_is_given_up() -> None:
    assert after_failure(InvalidArgument("bad"), deliveries=1).outcome is Outcome.GIVEN_UP


@pytest.mark.parametrize("error", [Unavailable("down"), PermissionDenied("key"), FleetError("odd")])
def test_other_failures_are_retried_ever_more_slowly_and_given_up_in_the_end(error: FleetError) -> None:
    verdicts = [after_failure(error, deliveries=number) for number in range(1, MAX_DELIVERIES + 1)]
    delays = [verdict.delay for verdict in verdicts[:-1]]
    assert delays == sorted(delays)
    assert delays[0] == timedelta(seconds=1)
    assert delays[-1] == timedelta(seconds=30)
    assert [verdict.outcome for verdict in verdicts] == [*[Outcome.RETRY] * (MAX_DELIVERIES - 1), Outcome.GIVEN_UP]


def test_a_retry_waits_as_long_as_the_server_asked() -> None:
    error = Unavailable("down", retry_after=timedelta(seconds=7))
    assert after_failure(error, deliveries=1).delay == timedelta(seconds=7)


@pytest.mark.parametrize("text", ["", "pbs_", "pbs_short", f"nod_{'1':0>26}", f"pbs_{'1':0>26}\n", f"PBS_{'1':0>26}"])
def test_what_is_no_session_id_is_refused(text: str) -> None:
    assert parse_session_id(text) is None
