"""What a session asks of its browser, and what its user reads of it."""

from collections.abc import Callable
from typing import cast

import grpc
import pytest

from browserfleet.browser.v1 import browser_pb2
from browserfleet.client import (
    Fleet,
    FleetError,
    InvalidRequest,
    OptionUnavailable,
    Proxy,
    ProxyUnreachable,
    Receipt,
    ReceiptState,
    SessionEnded,
)
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.unit.client.fleet_double import SESSION_ID, FleetDouble, a_session, refusal

_PROXY = Proxy("http://proxy.example:3128", username="u", password="canary")


async def test_every_option_goes_to_the_fleet(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(
        browser="chrome",
        tier="lean",
        viewport=(800, 600),
        user_agent="Agent",
        locale="de-DE",
        timezone="Europe/Berlin",
        geolocation=(1.5, -2.5, 3.0),
        start_url="https://example.com/",
        headers={"x-key": "v"},
        permissions=["geolocation"],
        proxy_location="US",
        proxy=_PROXY,
        extensions=["ad-blocker"],
    ):
        pass
    request = double.calls[0][1]
    assert isinstance(request, session_service_pb2.CreateSessionRequest)
    assert request.spec == browser_pb2.BrowserSpec(
        browser_type=browser_pb2.BROWSER_TYPE_CHROME,
        tier=browser_pb2.BROWSER_TIER_LEAN,
        viewport=browser_pb2.Viewport(width=800, height=600),
        user_agent="Agent",
        locale="de-DE",
        timezone="Europe/Berlin",
        geolocation=browser_pb2.Geolocation(latitude=1.5, longitude=-2.5, accuracy_meters=3.0),
        start_url="https://example.com/",
        headers={"x-key": "v"},
        permissions=["geolocation"],
        proxy_location="US",
        proxy=browser_pb2.CustomProxy(url="http://proxy.example:3128", username="u", password="canary"),
        extensions=["ad-blocker"],
    )


async def test_what_is_not_asked_is_not_sent(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(geolocation=(1.0, 2.0)):
        pass
    request = double.calls[0][1]
    assert isinstance(request, session_service_pb2.CreateSessionRequest)
    expected = browser_pb2.BrowserSpec(
        browser_type=browser_pb2.BROWSER_TYPE_CHROME,
        geolocation=browser_pb2.Geolocation(latitude=1.0, longitude=2.0),
    )
    assert request.spec == expected


def test_a_password_does_not_print() -> None:
    assert "canary" not in repr(_PROXY)


def test_a_tier_that_does_not_exist_is_named(fleet: Fleet) -> None:
    with pytest.raises(InvalidRequest, match="full or lean") as refused:
        fleet.session(tier="medium")
    assert set(refused.value.fields) == {"spec.tier"}


def test_an_option_that_does_not_exist_is_refused(fleet: Fleet) -> None:
    session = cast("Callable[..., object]", fleet.session)  # as in a program that nobody checked
    with pytest.raises(TypeError, match="no option viewprot"):
        session(viewprot=(1, 1))


@pytest.mark.parametrize(
    ("reason", "kind"), [("OPTION_UNAVAILABLE", OptionUnavailable), ("PROXY_UNREACHABLE", ProxyUnreachable)]
)
async def test_what_is_not_to_be_had_is_told(
    fleet: Fleet, double: FleetDouble, reason: str, kind: type[FleetError]
) -> None:
    double.refusals["CreateSession"] = [
        refusal(grpc.StatusCode.FAILED_PRECONDITION, reason, option="extensions", value="x")
    ]
    with pytest.raises(kind) as refused:
        async with fleet.session():
            pass
    if isinstance(refused.value, OptionUnavailable):
        assert (refused.value.option, refused.value.value) == ("extensions", "x")


async def test_receipts_say_what_became_of_the_options(fleet: Fleet, double: FleetDouble) -> None:
    double.session.browser.start_mode = browser_pb2.START_MODE_WARM
    double.session.browser.start_mode_message = "It stood ready."
    double.session.browser.receipts.add(
        option="locale",
        requested="de",
        reported="en",
        state=browser_pb2.Receipt.STATE_DIFFERENT,
        message="No.",
    )
    session = await fleet.get(SESSION_ID)
    assert (session.started_warm, session.start_message) == (True, "It stood ready.")
    assert session.receipts == (
        Receipt(option="locale", requested="de", reported="en", state=ReceiptState.DIFFERENT, message="No."),
    )


@pytest.mark.parametrize(
    ("scope", "door"), [("view", "live"), ("control", "live"), ("observe", "attach"), ("full", "attach")]
)
async def test_a_signed_url_leads_to_the_door_of_its_scope(
    fleet: Fleet, double: FleetDouble, scope: str, door: str
) -> None:
    session = await fleet.get(SESSION_ID)
    assert await session.signed_url(scope, control=3, ttl="30s") == f"wss://edge.test/{door}/{SESSION_ID}?token=fresh"
    request = double.calls[-1][1]
    assert isinstance(request, session_service_pb2.CreateAttachEndpointRequest)
    assert request.scope == session_pb2.AttachScope.Value(f"ATTACH_SCOPE_{scope.upper()}")
    assert (request.ttl.seconds, request.control_generation) == (30, 3)


async def test_an_ended_session_has_no_signed_url(fleet: Fleet, double: FleetDouble) -> None:
    double.session = a_session(state="CLOSED", close_reason="IDLE")
    double.refusals["CreateAttachEndpoint"] = [
        refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_OPEN", state="CLOSED", close_reason="IDLE")
    ]
    session = await fleet.get(SESSION_ID)
    with pytest.raises(SessionEnded):
        await session.signed_url()
    with pytest.raises(ValueError, match="ROOT"):
        await session.signed_url("root")
