"""Refusals reach callers as types."""

from datetime import timedelta

import grpc
import pytest

from browserfleet.client import (
    ArtifactNotFound,
    CallTimedOut,
    CloseReason,
    ControlTaken,
    Fleet,
    FleetError,
    FleetFull,
    HolderKind,
    InvalidRequest,
    LimitReached,
    NoCapableNode,
    PermissionDenied,
    QueueTimedOut,
    QuotaExceeded,
    RequestIdReused,
    SessionEnded,
    SessionNotFound,
    SessionNotOpen,
    SessionOccupied,
    SessionState,
    TimeoutLimit,
    Unauthenticated,
)
from tests.unit.client.fleet_double import END_TIME, SESSION_ID, FleetDouble, a_session, refusal

_CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (_CODE.NOT_FOUND, "SESSION_NOT_FOUND", SessionNotFound),
        (_CODE.NOT_FOUND, "ARTIFACT_NOT_FOUND", ArtifactNotFound),
        (_CODE.RESOURCE_EXHAUSTED, "NO_CAPACITY", FleetFull),
        (_CODE.RESOURCE_EXHAUSTED, "QUEUE_FULL", FleetFull),
        (_CODE.RESOURCE_EXHAUSTED, "QUEUE_TIMED_OUT", QueueTimedOut),
        (_CODE.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", QuotaExceeded),
        (_CODE.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", LimitReached),
        (_CODE.FAILED_PRECONDITION, "SESSION_OCCUPIED", SessionOccupied),
        (_CODE.FAILED_PRECONDITION, "CONTROL_TAKEN", ControlTaken),
        (_CODE.FAILED_PRECONDITION, "NO_CAPABLE_NODE", NoCapableNode),
        (_CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", RequestIdReused),
        (_CODE.UNAUTHENTICATED, "CREDENTIALS_INVALID", Unauthenticated),
        (_CODE.PERMISSION_DENIED, "SCOPE_MISSING", PermissionDenied),
        (_CODE.OUT_OF_RANGE, "TIMEOUT_LIMIT", TimeoutLimit),
        (_CODE.DEADLINE_EXCEEDED, "LATE", CallTimedOut),
        (_CODE.INTERNAL, "INTERNAL", FleetError),
    ],
)
async def test_each_reason_arrives_as_its_type(
    fleet: Fleet, double: FleetDouble, code: grpc.StatusCode, reason: str, kind: type[FleetError]
) -> None:
    double.refusals["GetSession"] = [refusal(code, reason, key="value")]
    with pytest.raises(FleetError) as caught:
        await fleet.get(SESSION_ID)
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert caught.value.metadata == {"key": "value"}


async def test_a_full_fleet_says_when_to_ask_again(fleet: Fleet, double: FleetDouble) -> None:
    wait = timedelta(seconds=7)
    double.refusals["CreateSession"] = [refusal(_CODE.RESOURCE_EXHAUSTED, "NO_CAPACITY", retry_after=wait)]
    with pytest.raises(FleetFull) as caught:
        async with fleet.session():
            pass
    assert caught.value.retry_after == wait


async def test_an_invalid_request_names_its_fields(fleet: Fleet, double: FleetDouble) -> None:
    fields = {"timeout": "must be at least 300s"}
    double.refusals["CreateSession"] = [refusal(_CODE.INVALID_ARGUMENT, "INVALID_REQUEST", fields=fields)]
    with pytest.raises(InvalidRequest, match="timeout: must be at least") as caught:
        async with fleet.session(timeout=4):
            pass
    assert caught.value.fields == fields


async def test_an_unknown_browser_is_refused_before_any_call(fleet: Fleet, double: FleetDouble) -> None:
    with pytest.raises(InvalidRequest, match="netscape"):
        fleet.session(browser="netscape")
    assert double.calls == []


async def test_extending_an_ended_session_says_why_and_when_it_ended(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.attach(SESSION_ID)
    double.session = a_session(state="CLOSED", close_reason="TIMED_OUT")
    double.refusals["ExtendSession"] = [refusal(_CODE.FAILED_PRECONDITION, "SESSION_NOT_OPEN", state="CLOSED")]
    with pytest.raises(SessionEnded) as caught:
        await session.extend("10m")
    assert (caught.value.close_reason, caught.value.at) == (CloseReason.TIMED_OUT, END_TIME)


async def test_a_session_that_is_not_up_yet_has_not_ended(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["ExtendSession"] = [refusal(_CODE.FAILED_PRECONDITION, "SESSION_NOT_OPEN", state="STARTING")]
    with pytest.raises(SessionNotOpen) as caught:
        await (await fleet.get(SESSION_ID)).extend("10m")
    assert not isinstance(caught.value, SessionEnded)
    assert caught.value.state is SessionState.STARTING


async def test_a_quota_says_what_it_is_and_when_to_ask_again(fleet: Fleet, double: FleetDouble) -> None:
    wait = timedelta(seconds=7)
    double.refusals["CreateSession"] = [
        refusal(
            _CODE.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_after=wait, quota="open_sessions", limit="5", used="5"
        )
    ]
    with pytest.raises(QuotaExceeded) as caught:
        async with fleet.session():
            pass
    error = caught.value
    assert (error.quota, error.limit, error.used, error.retry_after) == ("open_sessions", 5, 5, wait)


async def test_a_refused_holder_learns_who_has_the_session(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["OccupySession"] = [
        refusal(_CODE.FAILED_PRECONDITION, "SESSION_OCCUPIED", holder_kind="AGENT", holder_id="agent-1", generation="3")
    ]
    session = await fleet.get(SESSION_ID)
    with pytest.raises(SessionOccupied) as caught:
        async with session.occupy(task="task-1"):
            pass
    assert (caught.value.holder_kind, caught.value.holder_id) == (HolderKind.AGENT, "agent-1")
    assert double.asked("ReleaseSession") == 0


async def test_a_state_of_a_newer_fleet_reads_as_unspecified() -> None:
    assert SessionState("SUSPENDED") is SessionState.UNSPECIFIED
