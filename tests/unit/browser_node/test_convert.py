from datetime import timedelta

import pytest

from browser_node.domain.browser import BrowserFacts, BrowserKind
from browser_node.domain.errors import BrowserTypeUnavailable, OptionUnavailable
from browser_node.domain.options import (
    BrowserOptions,
    BrowserTier,
    CustomProxy,
    Geolocation,
    Receipt,
    ReceiptState,
    Viewport,
)
from browser_node.rpc.convert import browser_to_proto, order_from_proto
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2
from fleetkit.rpc.times import duration


def a_request(spec: browser_pb2.BrowserSpec | None = None) -> browser_service_pb2.StartBrowserRequest:
    return browser_service_pb2.StartBrowserRequest(
        session_id="pbs_1", epoch=1, organization_id="o_1", spec=spec, remaining=duration(timedelta(minutes=5))
    )


def test_a_request_without_a_spec_asks_for_nothing() -> None:
    order = order_from_proto(a_request(), {})

    assert (order.kind, order.options) == (BrowserKind.CHROME, BrowserOptions())


def test_every_option_arrives() -> None:
    spec = browser_pb2.BrowserSpec(
        browser_type=browser_pb2.BROWSER_TYPE_MSEDGE,
        tier=browser_pb2.BROWSER_TIER_LEAN,
        viewport=browser_pb2.Viewport(width=800, height=600),
        user_agent="UA",
        locale="de-DE",
        timezone="Europe/Berlin",
        geolocation=browser_pb2.Geolocation(latitude=1, longitude=2, accuracy_meters=3),
        start_url="https://example.com/",
        headers={"X-A": "secret"},
        permissions=["geolocation"],
        proxy_location="US",
        proxy=browser_pb2.CustomProxy(url="http://proxy.example:8080", username="u", password="hidden"),
        extensions=["ad-blocker"],
    )

    order = order_from_proto(a_request(spec), {})

    assert order.kind is BrowserKind.MSEDGE
    assert order.options == BrowserOptions(
        tier=BrowserTier.LEAN,
        viewport=Viewport(800, 600),
        user_agent="UA",
        locale="de-DE",
        timezone="Europe/Berlin",
        geolocation=Geolocation(latitude=1, longitude=2, accuracy_meters=3),
        start_url="https://example.com/",
        headers={"X-A": "secret"},
        permissions=("geolocation",),
        proxy_location="US",
        proxy=CustomProxy(url="http://proxy.example:8080", username="u", password="hidden"),
        extensions=("ad-blocker",),
    )
    assert "secret" not in repr(order)
    assert "hidden" not in repr(order)


def test_what_only_a_newer_session_api_knows_is_refused() -> None:
    spec = browser_pb2.BrowserSpec()
    spec.ParseFromString(b"\x08\x63")
    with pytest.raises(BrowserTypeUnavailable):
        order_from_proto(a_request(spec), {})

    spec.ParseFromString(b"\x10\x63")
    with pytest.raises(OptionUnavailable):
        order_from_proto(a_request(spec), {})


def test_facts_leave_with_how_the_browser_came_and_every_receipt() -> None:
    receipt = Receipt(option="locale", requested="de-DE", reported="de", state=ReceiptState.DIFFERENT, message="why")
    facts = BrowserFacts(
        product="Chrome/1", user_agent="UA", sandboxed=True, warm=True, start_message="ready", receipts=(receipt,)
    )

    browser = browser_to_proto("pbs_1", 2, facts)

    assert browser.start_mode == browser_pb2.START_MODE_WARM
    assert browser.start_mode_message == "ready"
    assert browser.receipts[0] == browser_pb2.Receipt(
        option="locale",
        requested="de-DE",
        reported="de",
        state=browser_pb2.Receipt.STATE_DIFFERENT,
        message="why",
    )
