"""What becomes of a message that something is due."""

from datetime import timedelta

import pytest

from fleetkit.errors import FleetError, InvalidArgument, NotFound, PermissionDenied, Unavailable
from fleetkit.verdicts import MAX_DELIVERIES, Outcome
from reaper.policy import after_failure, parse_session_id


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
