"""session-api's side of a node's gRPC: what a node is asked, and what is made of its answers."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from google.protobuf.empty_pb2 import Empty

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2, browser_service_pb2_grpc
from fleetkit import errors
from fleetkit.clock import SystemClock
from fleetkit.rpc.caller import bearer_token
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service, serving
from fleetkit.sealing import SecretBox
from session_api.adapters.node_client import GrpcNodeGateway
from session_api.domain.browser import (
    BrowserSpec,
    BrowserTier,
    CustomProxy,
    Geolocation,
    ReceiptState,
    SpecSecrets,
    Viewport,
)
from session_api.domain.errors import BrowserStartFailed, NodeUnavailable, OptionUnavailable, ProxyUnreachable
from session_api.domain.session import Session, SessionState
from session_api.usecases.sealing import SecretSealing
from tests.support.fleet_builders import ORGANIZATION, a_session, an_allocation
from tests.support.keys import the_signer

_SPEC = BrowserSpec(
    tier=BrowserTier.LEAN,
    viewport=Viewport(width=800, height=600),
    user_agent="Agent",
    locale="de-DE",
    timezone="Europe/Berlin",
    geolocation=Geolocation(latitude=1.5, longitude=-2.5, accuracy_meters=3.0),
    start_url="https://example.com/",
    headers=("Authorization",),
    permissions=("geolocation",),
    proxy_location="US",
    proxy=CustomProxy(url="http://proxy.example:3128", username="u"),
    extensions=("ad-blocker",),
)
_SECRETS = SpecSecrets(headers={"Authorization": "Bearer x"}, proxy_password="p")
_SENT = browser_pb2.BrowserSpec(
    browser_type=browser_pb2.BROWSER_TYPE_CHROME,
    tier=browser_pb2.BROWSER_TIER_LEAN,
    viewport=browser_pb2.Viewport(width=800, height=600),
    user_agent="Agent",
    locale="de-DE",
    timezone="Europe/Berlin",
    geolocation=browser_pb2.Geolocation(latitude=1.5, longitude=-2.5, accuracy_meters=3.0),
    start_url="https://example.com/",
    headers={"Authorization": "Bearer x"},
    permissions=["geolocation"],
    proxy_location="US",
    proxy=browser_pb2.CustomProxy(url="http://proxy.example:3128", username="u", password="p"),
    extensions=["ad-blocker"],
)


@dataclass
class _Node(browser_service_pb2_grpc.BrowserServiceServicer):
    """A node that keeps what it is asked, and answers as a test says."""

    started: list[browser_service_pb2.StartBrowserRequest] = field(default_factory=list)
    controls: list[browser_service_pb2.SetControlRequest] = field(default_factory=list)
    browser: browser_pb2.Browser = field(default_factory=browser_pb2.Browser)
    fails_with: errors.FleetError | None = None
    address: str = ""

    async def StartBrowser(
        self, request: browser_service_pb2.StartBrowserRequest, context: Context
    ) -> browser_pb2.Browser:
        self.started.append(request)
        if self.fails_with is not None:
            raise self.fails_with
        return self.browser

    async def StopBrowser(self, request: browser_service_pb2.StopBrowserRequest, context: Context) -> Empty:
        raise NotImplementedError

    async def SetDeadline(self, request: browser_service_pb2.SetDeadlineRequest, context: Context) -> Empty:
        raise NotImplementedError

    async def SetControl(self, request: browser_service_pb2.SetControlRequest, context: Context) -> Empty:
        self.controls.append(request)
        return Empty()


class _Anybody:
    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        return bearer_token(metadata)


@pytest.fixture
async def node() -> AsyncIterator[_Node]:
    node = _Node()
    service = Service(
        "browserfleet.node.v1.BrowserService",
        lambda server: browser_service_pb2_grpc.add_BrowserServiceServicer_to_server(node, server),
    )
    async with serving("127.0.0.1:0", [service], authenticator=_Anybody(), grace=timedelta(0)) as running:
        node.address = f"127.0.0.1:{running.port}"
        yield node


@pytest.fixture
async def gateway() -> AsyncIterator[GrpcNodeGateway]:
    async with GrpcNodeGateway(the_signer(), SecretSealing(SecretBox(b"secret")), clock=SystemClock()) as gateway:
        yield gateway


def _starting(node: _Node, spec: BrowserSpec = _SPEC, secrets: SpecSecrets = _SECRETS) -> Session:
    sealed = SecretSealing(SecretBox(b"secret")).seal(secrets, ORGANIZATION)
    allocation = replace(an_allocation(), node_address=node.address)
    return a_session(state=SessionState.STARTING, spec=spec, sealed_secrets=sealed, allocation=allocation)


async def test_the_node_is_asked_for_everything_secrets_included(node: _Node, gateway: GrpcNodeGateway) -> None:
    await gateway.start_browser(_starting(node))
    (request,) = node.started
    assert request.spec == _SENT


async def test_the_node_is_asked_for_nothing_where_nothing_was_asked(node: _Node, gateway: GrpcNodeGateway) -> None:
    await gateway.start_browser(_starting(node, BrowserSpec(), SpecSecrets()))
    (request,) = node.started
    assert request.spec == browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_CHROME)


async def test_facts_and_receipts_come_back(node: _Node, gateway: GrpcNodeGateway) -> None:
    node.browser = browser_pb2.Browser(
        product="Chrome/1",
        start_mode=browser_pb2.START_MODE_WARM,
        start_mode_message="It stood ready.",
        receipts=[
            browser_pb2.Receipt(
                option="locale", requested="de", reported="de", state=browser_pb2.Receipt.STATE_APPLIED
            ),
            # A newer node's.
            browser_pb2.Receipt(option="moon", state=99),  # type: ignore[arg-type]
        ],
    )
    facts = await gateway.start_browser(_starting(node))
    assert (facts.product, facts.warm, facts.start_message) == ("Chrome/1", True, "It stood ready.")
    assert [(receipt.option, receipt.state) for receipt in facts.receipts] == [
        ("locale", ReceiptState.APPLIED),
        ("moon", ReceiptState.UNSPECIFIED),
    ]


async def test_a_node_that_says_too_much_is_cut_short(node: _Node, gateway: GrpcNodeGateway) -> None:
    receipt = browser_pb2.Receipt(option="a\0b", message="x" * 100_000)
    node.browser = browser_pb2.Browser(receipts=[receipt] * 100)
    facts = await gateway.start_browser(_starting(node))
    assert len(facts.receipts) == 64
    assert (facts.receipts[0].option, len(facts.receipts[0].message)) == ("ab", 5000)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OptionUnavailable("No.", option="extensions", value="x"), OptionUnavailable),
        (ProxyUnreachable("No."), ProxyUnreachable),
        (errors.InvalidArgument("No.", fields={"spec.permissions": "unknown"}), errors.InvalidArgument),
        (BrowserStartFailed("No."), BrowserStartFailed),
        (errors.Unavailable("No."), NodeUnavailable),
    ],
)
async def test_what_a_node_refuses_keeps_its_kind(
    node: _Node, gateway: GrpcNodeGateway, error: errors.FleetError, expected: type[errors.FleetError]
) -> None:
    node.fails_with = error
    with pytest.raises(expected) as refusal:
        await gateway.start_browser(_starting(node))
    if isinstance(error, OptionUnavailable | errors.InvalidArgument):
        assert refusal.value.metadata == error.metadata
        assert getattr(refusal.value, "fields", None) == getattr(error, "fields", None)


async def test_a_refusal_is_kept_to_what_can_be_stored(node: _Node, gateway: GrpcNodeGateway) -> None:
    for error in (ProxyUnreachable("a\0b" + "x" * 2000), errors.InvalidArgument("a\0b" + "x" * 2000)):
        node.fails_with = error
        with pytest.raises(type(error)) as refusal:
            await gateway.start_browser(_starting(node))
        assert refusal.value.message == "ab" + "x" * 498


async def test_secrets_that_cannot_be_opened_fail_the_start_before_the_node_is_asked(
    node: _Node, gateway: GrpcNodeGateway
) -> None:
    foreign = replace(_starting(node), sealed_secrets=SecretSealing(SecretBox(b"old")).seal(_SECRETS, ORGANIZATION))
    with pytest.raises(BrowserStartFailed):
        await gateway.start_browser(foreign)
    assert node.started == []


async def test_the_node_hears_who_has_control(node: _Node, gateway: GrpcNodeGateway) -> None:
    session = _starting(node)
    await gateway.set_control(session, generation=3, held=True)
    await gateway.set_control(session, generation=3, held=False)
    assert [(told.session_id, told.epoch, told.generation, told.held) for told in node.controls] == [
        (session.id, 1, 3, True),
        (session.id, 1, 3, False),
    ]
