"""A watch goes on until its loop is left, whatever the fleet does meanwhile."""

import asyncio

import grpc
import pytest

from browserfleet.client import Fleet, FleetUnavailable, InvalidRequest, LimitReached, Session, WatchKind
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.unit.client.fleet_double import UNAVAILABLE, FleetDouble, a_session, news, refusal

_IDS = [f"pbs_{number:026}" for number in range(5)]
_STOPPING = refusal(grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING")
_EXPIRED = refusal(grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


def of(number: int) -> session_pb2.Session:
    return a_session(session_id=_IDS[number])


def tokens(double: FleetDouble) -> list[str]:
    requests = [request for _, request in double.calls]
    return [
        request.resume_token for request in requests if isinstance(request, session_service_pb2.WatchSessionsRequest)
    ]


async def first(count: int, fleet: Fleet) -> list[tuple[WatchKind, str]]:
    """What a watch yields first, as kinds and IDs."""
    found: list[tuple[WatchKind, str]] = []
    async for kind, session in fleet.watch():
        found.append((kind, session.id))
        if len(found) == count:
            break
    return found


async def test_a_watch_yields_what_is_there_and_then_what_changes(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [
        [news("SNAPSHOT", of(0)), news("BOOKMARK", resume_token="a"), news("CHANGED", of(1)), news("LEFT", of(0))]
    ]
    assert await first(3, fleet) == [
        (WatchKind.SNAPSHOT, _IDS[0]),
        (WatchKind.CHANGED, _IDS[1]),
        (WatchKind.LEFT, _IDS[0]),
    ]


async def test_leaving_the_loop_ends_the_watch(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [[news("SNAPSHOT", of(0))]]
    await first(1, fleet)
    async with asyncio.timeout(5):
        await double.left.wait()


async def test_what_is_watched_travels_with_the_watch(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [[news("SNAPSHOT", of(0))]]
    async for _, session in fleet.watch(states=["RUNNING"], labels={"team": "qa"}):
        assert isinstance(session, Session)
        break
    request = double.calls[0][1]
    assert isinstance(request, session_service_pb2.WatchSessionsRequest)
    assert list(request.filter.states) == [session_pb2.Session.STATE_RUNNING]
    assert dict(request.filter.labels) == {"team": "qa"}
    assert double.credentials == {"Bearer bf_key"}


async def test_a_watch_that_breaks_goes_on_with_its_last_token(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [
        [news("SNAPSHOT", of(0)), news("BOOKMARK", resume_token="a"), news("BOOKMARK", resume_token="b"), _STOPPING],
        [UNAVAILABLE],
        [news("CHANGED", of(1))],
    ]
    assert await first(2, fleet) == [(WatchKind.SNAPSHOT, _IDS[0]), (WatchKind.CHANGED, _IDS[1])]
    assert tokens(double) == ["", "b", "b"]


async def test_a_watch_outlasts_more_outages_than_a_call(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [[news("BOOKMARK", resume_token="a"), _STOPPING], *[[UNAVAILABLE]] * 9, [news("CHANGED", of(0))]]
    assert await first(1, fleet) == [(WatchKind.CHANGED, _IDS[0])]


async def test_a_watch_whose_token_is_too_old_begins_anew(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [
        [news("BOOKMARK", resume_token="a"), _STOPPING],
        [_EXPIRED],
        [news("SNAPSHOT", of(0))],
    ]
    assert await first(1, fleet) == [(WatchKind.SNAPSHOT, _IDS[0])]
    assert tokens(double) == ["", "a", ""]


async def test_a_fleet_that_never_answered_is_given_up(fleet: Fleet, double: FleetDouble) -> None:
    double.watches = [[UNAVAILABLE]] * 9
    with pytest.raises(FleetUnavailable):
        await first(1, fleet)
    assert double.asked("WatchSessions") == 4


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_RESUME_TOKEN", InvalidRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", LimitReached),
    ],
)
async def test_other_refusals_end_the_watch(
    fleet: Fleet, double: FleetDouble, code: grpc.StatusCode, reason: str, kind: type[Exception]
) -> None:
    double.watches = [[refusal(code, reason)]]
    with pytest.raises(kind):
        await first(1, fleet)
