"""Addresses of a chosen scope, as callers get them and as the edge reads them."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.times import duration
from fleetkit.tokens import Claims, TokenVerifier
from session_api.domain.identifiers import SessionId
from tests.support.fleet_builders import a_caller
from tests.support.keys import the_signer
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import metadata_of, reason_of
from tests.unit.session_api.refusals import INVALID, NOT_OPEN, Attempt, Refusal, refusal_of, see_refused

_LIVE = {session_pb2.ATTACH_SCOPE_VIEW, session_pb2.ATTACH_SCOPE_CONTROL}


async def _endpoint(entry: Entry, **fields: object) -> session_pb2.AttachEndpoint:
    request = session_service_pb2.CreateAttachEndpointRequest(**{"session_id": entry.running} | fields)  # type: ignore[arg-type]  # fields
    return await entry.call(entry.door.sessions.CreateAttachEndpoint, request)


def _claims(url: str) -> Claims:
    (token,) = parse_qs(urlsplit(url).query)["token"]
    return TokenVerifier(the_signer().public_key_pem).verify(token, audience="attach")


async def _control(entry: Entry, holder: str = "Ada", *, take_over: bool = False) -> int:
    session = await entry.plane.leasing.take_control(
        a_caller(), SessionId(entry.running), holder=holder, ttl=timedelta(minutes=1), take_over=take_over
    )
    assert session.control is not None
    return session.control.generation


@pytest.mark.parametrize("scope", session_pb2.AttachScope.values())
async def test_a_token_says_its_scope_and_leads_to_the_door_for_it(
    entry: Entry, scope: session_pb2.AttachScope.ValueType
) -> None:
    generation = await _control(entry)
    endpoint = await _endpoint(entry, scope=scope, control_generation=generation)
    assert endpoint.scope == (scope or session_pb2.ATTACH_SCOPE_FULL)
    door = "live" if scope in _LIVE else "attach"
    for url, host in ((endpoint.direct_url, "127.0.0.1:1"), (endpoint.edge_url, "edge.test")):
        assert (urlsplit(url).netloc, urlsplit(url).path) == (host, f"/{door}/{entry.running}")
    extra = _claims(endpoint.direct_url).extra
    name = session_pb2.AttachScope.Name(scope).removeprefix("ATTACH_SCOPE_").lower()
    control = {"control": "1"} if scope == session_pb2.ATTACH_SCOPE_CONTROL else {}
    expected = {"epoch": "1", "organization": "o_acme", "scope": "full" if name == "unspecified" else name}
    assert extra == expected | control


@pytest.mark.parametrize("seconds", [None, 10, 900])
async def test_a_token_is_good_for_as_long_as_was_asked(entry: Entry, seconds: int | None) -> None:
    ttl = duration(timedelta(seconds=seconds)) if seconds else None
    endpoint = await _endpoint(entry, ttl=ttl)
    left = endpoint.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(seconds=(seconds or 900) - 9) < left <= timedelta(seconds=seconds or 900)
    assert _claims(endpoint.edge_url).expire_time == endpoint.expire_time.ToDatetime(UTC)


async def test_control_is_granted_to_whoever_holds_the_present_lease(entry: Entry) -> None:
    scope = session_pb2.ATTACH_SCOPE_CONTROL
    refusal = await refusal_of(_endpoint(entry, scope=scope, control_generation=0))
    assert (reason_of(refusal), metadata_of(refusal)) == ("CONTROL_TAKEN", {"holder": "", "generation": "0"})
    first = await _control(entry)
    second = await _control(entry, "Bob", take_over=True)
    refusal = await refusal_of(_endpoint(entry, scope=scope, control_generation=first))
    assert metadata_of(refusal) == {"holder": "Bob", "generation": "2"}
    assert _claims((await _endpoint(entry, scope=scope, control_generation=second)).edge_url).extra["control"] == "2"
    entry.fleet.clock.step(timedelta(minutes=1))
    refusal = await refusal_of(_endpoint(entry, scope=scope, control_generation=second))
    assert refusal.code().name == "FAILED_PRECONDITION"


def _asking(**fields: object) -> Attempt:
    return lambda e: _endpoint(e, **fields)


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    "an unknown scope is refused": (_asking(scope=99), INVALID),
    "a token for less than 10 seconds is refused": (_asking(ttl=duration(timedelta(seconds=9))), INVALID),
    "a token for more than 15 minutes is refused": (_asking(ttl=duration(timedelta(seconds=901))), INVALID),
    "a generation below 0 is refused": (_asking(control_generation=-1), INVALID),
    "a session ID that is none is refused": (_asking(session_id="pbs_1"), INVALID),
    "an ended session has no address": (lambda e: _endpoint(e, session_id=e.closed), NOT_OPEN),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_endpoint(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)
