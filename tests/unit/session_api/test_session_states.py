"""A session's states: what may become of it, and what may not."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotOpen
from session_api.domain.leases import HolderKind
from session_api.domain.session import Session, SessionState
from session_api.domain.usage import UsageRecord
from tests.support.fleet_builders import FACTS, NOON, a_session, an_allocation

_LATER = NOON + timedelta(minutes=1)
_MINUTE = timedelta(minutes=1)
_QUEUED, _STARTING, _RUNNING, _CLOSING, _CLOSED, _FAILED = SessionState
_UNFINISHED = [_QUEUED, _STARTING, _RUNNING, _CLOSING]

# What a transition does from the states that it is possible in; None: the session stays as it is. It is refused in
# every other one.
_TRANSITIONS: dict[str, tuple[Callable[[Session], Session], dict[SessionState, SessionState | None]]] = {
    "placed": (lambda session: session.placed(an_allocation(), now=_LATER), {_QUEUED: _STARTING}),
    "started": (lambda session: session.started(now=_LATER, browser=FACTS), {_STARTING: _RUNNING}),
    "extended": (lambda session: session.extended(by=_MINUTE, now=_LATER), {_RUNNING: _RUNNING}),
    "occupied": (
        lambda session: session.occupied(HolderKind.TASK, "run-1", now=_LATER, ttl=None),
        {_RUNNING: _RUNNING},
    ),
    "controlled": (lambda session: session.controlled("Ada", now=_LATER, ttl=_MINUTE), {_RUNNING: _RUNNING}),
    "released": (lambda session: session.released(1, now=_LATER), dict.fromkeys(SessionState)),
    "uncontrolled": (lambda session: session.uncontrolled(1, now=_LATER), dict.fromkeys(SessionState)),
    "closing": (
        lambda session: session.closing(now=_LATER, reason=CloseReason.USER_REQUESTED),
        {_QUEUED: _CLOSING, _STARTING: _CLOSING, _RUNNING: _CLOSING, _CLOSING: None, _CLOSED: None, _FAILED: None},
    ),
    "ended": (
        lambda session: session.ended(now=_LATER, reason=CloseReason.USER_REQUESTED),
        {_QUEUED: _CLOSED, _STARTING: _CLOSED, _RUNNING: _CLOSED, _CLOSING: _CLOSED, _CLOSED: None, _FAILED: None},
    ),
}


@pytest.mark.parametrize(("name", "state"), list(itertools.product(_TRANSITIONS, SessionState)))
def test_every_transition_leads_where_it_may_or_is_refused(name: str, state: SessionState) -> None:
    transition, outcomes = _TRANSITIONS[name]
    session = a_session(state=state)
    if state not in outcomes:
        with pytest.raises(SessionNotOpen) as refusal:
            transition(session)
        assert refusal.value.metadata["state"] == str(state)
        return
    after = transition(session)
    if outcomes[state] is None:
        assert after is session
    else:
        assert (after.state, after.sequence) == (outcomes[state], session.sequence + 1)


def test_a_placed_session_is_held_by_its_node_under_its_first_epoch() -> None:
    queued = a_session(state=_QUEUED)
    placed = queued.placed(an_allocation(node_id="nod_7"), now=_LATER)
    assert (queued.holder, placed.holder) == (None, ("nod_7", 1))
    assert placed.state_time == _LATER


def test_a_session_that_moves_on_gets_its_next_epoch_and_its_time_anew() -> None:
    starting = a_session(state=_STARTING)
    moved = starting.unallocated().allocated(an_allocation(node_id="nod_2"), now=_LATER)
    assert (moved.holder, moved.state_time) == (("nod_2", 2), _LATER)
    assert moved.sequence == starting.sequence


def test_a_started_session_counts_its_timeout_from_the_start() -> None:
    running = a_session(state=_STARTING, timeout=timedelta(minutes=5)).started(now=_LATER, browser=FACTS)
    assert (running.start_time, running.state_time) == (_LATER, _LATER)
    assert running.expire_time == _LATER + timedelta(minutes=5)
    assert (running.browser, running.is_open) == (FACTS, True)


@pytest.mark.parametrize("state", _UNFINISHED)
@pytest.mark.parametrize("reason", list(CloseReason))
def test_any_unfinished_session_can_end_for_any_reason(state: SessionState, reason: CloseReason) -> None:
    session = replace(a_session(state=state), close_reason=None, close_message="", client_count=2, viewer_count=1)
    ended = session.ended(now=_LATER, reason=reason)
    assert ended.state is (_FAILED if reason.is_fault else _CLOSED)
    assert (ended.close_reason, ended.end_time) == (reason, _LATER)
    assert (ended.client_count, ended.viewer_count, ended.is_open) == (0, 0, False)
    assert ended.close_message == reason.sentence


def test_the_first_close_reason_stays() -> None:
    closing = a_session().closing(now=NOON, reason=CloseReason.TIMED_OUT)
    assert closing.closing(now=_LATER, reason=CloseReason.USER_REQUESTED) is closing
    ended = closing.ended(now=_LATER, reason=CloseReason.BROWSER_CRASHED, message="It crashed.")
    assert (ended.state, ended.close_reason) == (_CLOSED, CloseReason.TIMED_OUT)
    assert ended.close_message == closing.close_message


def test_the_message_of_whoever_ends_a_session_is_kept() -> None:
    ended = a_session().ended(now=NOON, reason=CloseReason.BROWSER_CRASHED, message="Signal 11.")
    assert ended.close_message == "Signal 11."


def test_whoever_held_or_controlled_a_session_has_it_no_more_when_it_ends() -> None:
    session = a_session().occupied(HolderKind.TASK, "run-1", now=NOON, ttl=None)
    ended = session.controlled("Ada", now=NOON, ttl=_MINUTE).ended(now=_LATER, reason=CloseReason.TIMED_OUT)
    assert (ended.occupancy, ended.control) == (None, None)
    assert (ended.holdings, ended.controls) == (1, 1)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not _RUNNING])
def test_only_a_running_session_can_be_attached_to(state: SessionState) -> None:
    with pytest.raises(SessionNotOpen):
        a_session(state=state).require_running()
    running = a_session()
    assert running.require_running() == running.allocation


@pytest.mark.parametrize(
    ("state", "holds_slot", "is_open", "is_final"),
    [
        (_QUEUED, False, False, False),
        (_STARTING, True, False, False),
        (_RUNNING, True, True, False),
        (_CLOSING, True, True, False),
        (_CLOSED, False, False, True),
        (_FAILED, False, False, True),
    ],
)
def test_a_state_says_whether_there_is_a_browser_and_a_way_on(
    state: SessionState, holds_slot: bool, is_open: bool, is_final: bool
) -> None:
    assert (state.holds_slot, a_session(state=state).is_open, state.is_final) == (holds_slot, is_open, is_final)


def test_a_refusal_says_why_the_session_ended() -> None:
    with pytest.raises(SessionNotOpen) as refusal:
        a_session(state=_CLOSED, reason=CloseReason.TIMED_OUT).require_running()
    assert refusal.value.metadata == {"state": "CLOSED", "close_reason": "TIMED_OUT"}
    assert "timeout ran out" in refusal.value.message


def test_usage_is_the_time_from_the_start_to_the_end() -> None:
    session = a_session(labels={"team": "qa"}).ended(now=_LATER, reason=CloseReason.TIMED_OUT)
    record = UsageRecord.of(session)
    assert record is not None
    assert (record.session_id, record.epoch, record.labels) == (session.id, 1, {"team": "qa"})
    assert record.used == _MINUTE


@pytest.mark.parametrize("state", [_QUEUED, _STARTING])
def test_a_session_whose_browser_never_was_up_used_nothing(state: SessionState) -> None:
    assert UsageRecord.of(a_session(state=state).ended(now=_LATER, reason=CloseReason.START_FAILED)) is None


@given(st.lists(st.sampled_from(list(_TRANSITIONS)), max_size=12))
def test_sequence_numbers_have_no_gaps_and_reasons_never_change(steps: list[str]) -> None:
    session = a_session(state=_QUEUED)
    for step in steps:
        before = session
        try:
            session = _TRANSITIONS[step][0](session)
        except SessionNotOpen:
            continue
        # A lease that is only prolonged is no news.
        prolonged = step in {"occupied", "controlled"} and session.holdings == before.holdings
        assert session.sequence - before.sequence in ({0, 1} if prolonged else {0 if session is before else 1})
        assert before.close_reason in {None, session.close_reason}
        assert not before.state.is_final or session is before
