"""A session's states: what may become of it, and what may not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.errors import SessionNotOpen, TimeoutLimit
from session_api.domain.session import CloseReason, Session, SessionState
from tests.support.fleet_builders import FACTS, NOON, a_session

_FINAL = [SessionState.CLOSED, SessionState.FAILED]
_UNFINISHED = [state for state in SessionState if state not in _FINAL]
_LATER = NOON + timedelta(minutes=1)


def test_a_started_session_counts_its_timeout_from_the_start() -> None:
    starting = a_session(state=SessionState.STARTING, timeout=timedelta(minutes=5))
    running = starting.started(now=_LATER, browser=FACTS)
    assert (running.state, running.start_time, running.state_time) == (SessionState.RUNNING, _LATER, _LATER)
    assert running.expire_time == _LATER + timedelta(minutes=5)
    assert (running.browser, running.is_open, running.sequence) == (FACTS, True, starting.sequence + 1)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.STARTING])
def test_only_a_starting_session_starts(state: SessionState) -> None:
    with pytest.raises(SessionNotOpen):
        a_session(state=state).started(now=NOON, browser=FACTS)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.RUNNING])
def test_only_a_running_session_is_extended(state: SessionState) -> None:
    with pytest.raises(SessionNotOpen) as refusal:
        a_session(state=state).extended(by=timedelta(minutes=1))
    assert refusal.value.metadata["state"] == str(state)


def test_an_extension_moves_the_deadline_and_the_timeout() -> None:
    session = a_session(timeout=timedelta(minutes=60)).extended(by=timedelta(minutes=30))
    assert session.timeout == timedelta(minutes=90)
    assert session.expire_time == NOON + timedelta(minutes=90)


def test_an_extension_up_to_the_limit_is_granted_and_one_past_it_refused() -> None:
    session = a_session(timeout=timedelta(minutes=60), lifetime_limit=timedelta(minutes=90))
    assert session.extended(by=timedelta(minutes=30)).timeout == timedelta(minutes=90)
    with pytest.raises(TimeoutLimit) as refusal:
        session.extended(by=timedelta(minutes=31))
    assert refusal.value.metadata == {"limit_seconds": "5400"}


@pytest.mark.parametrize("state", _FINAL)
def test_a_final_state_has_no_way_out(state: SessionState) -> None:
    session = a_session(state=state)
    assert session.closing(now=_LATER, reason=CloseReason.TIMED_OUT) is session
    assert session.ended(now=_LATER, reason=CloseReason.TIMED_OUT, message="Other.") is session
    assert not session.is_open


@pytest.mark.parametrize("state", _UNFINISHED)
@pytest.mark.parametrize("reason", list(CloseReason))
def test_any_unfinished_session_can_end_for_any_reason(state: SessionState, reason: CloseReason) -> None:
    session = replace(a_session(state=state), close_reason=None, close_message="", client_count=2)
    ended = session.ended(now=_LATER, reason=reason)
    assert ended.state is (SessionState.FAILED if reason.is_fault else SessionState.CLOSED)
    assert (ended.close_reason, ended.end_time, ended.client_count) == (reason, _LATER, 0)
    assert ended.close_message != ""


def test_the_first_close_reason_stays() -> None:
    closing = a_session().closing(now=NOON, reason=CloseReason.TIMED_OUT)
    assert closing.closing(now=_LATER, reason=CloseReason.USER_REQUESTED) is closing
    ended = closing.ended(now=_LATER, reason=CloseReason.BROWSER_CRASHED, message="It crashed.")
    assert (ended.state, ended.close_reason) == (SessionState.CLOSED, CloseReason.TIMED_OUT)
    assert ended.close_message == closing.close_message


def test_the_message_of_whoever_ends_a_session_is_kept() -> None:
    ended = a_session().ended(now=NOON, reason=CloseReason.BROWSER_CRASHED, message="Signal 11.")
    assert ended.close_message == "Signal 11."


def test_a_session_is_overdue_from_its_deadline_on_while_it_is_running() -> None:
    session = a_session(timeout=timedelta(minutes=5))
    deadline = NOON + timedelta(minutes=5)
    assert not session.is_overdue(now=deadline - timedelta(microseconds=1))
    assert session.is_overdue(now=deadline)
    assert not session.closing(now=NOON, reason=CloseReason.IDLE).is_overdue(now=deadline)
    assert not a_session(state=SessionState.STARTING).is_overdue(now=deadline)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.RUNNING])
def test_only_a_running_session_can_be_attached_to(state: SessionState) -> None:
    with pytest.raises(SessionNotOpen):
        a_session(state=state).require_running()
    running = a_session()
    assert running.require_running() == running.allocation


def test_a_refusal_says_why_the_session_ended() -> None:
    with pytest.raises(SessionNotOpen) as refusal:
        a_session(state=SessionState.CLOSED, reason=CloseReason.TIMED_OUT).require_running()
    assert refusal.value.metadata == {"state": "CLOSED", "close_reason": "TIMED_OUT"}
    assert "timeout ran out" in refusal.value.message


@given(st.lists(st.sampled_from(["start", "extend", "closing", "ended"]), max_size=12))
def test_sequence_numbers_have_no_gaps_and_reasons_never_change(steps: list[str]) -> None:
    session = a_session(state=SessionState.STARTING)
    for step in steps:
        before = session
        session = _step(session, step)
        assert session.sequence - before.sequence == (0 if session is before else 1)
        assert before.close_reason in {None, session.close_reason}
        assert not before.state.is_final or session is before


def _step(session: Session, step: str) -> Session:
    try:
        match step:
            case "start":
                return session.started(now=NOON, browser=FACTS)
            case "extend":
                return session.extended(by=timedelta(minutes=1))
            case "closing":
                return session.closing(now=NOON, reason=CloseReason.TIMED_OUT)
            case _:
                return session.ended(now=NOON, reason=CloseReason.BROWSER_CRASHED)
    except SessionNotOpen:
        return session
