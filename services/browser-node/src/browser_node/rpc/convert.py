"""Between the contract's messages and the node's own words."""

from collections.abc import Mapping

from browser_node.domain.browser import BrowserFacts, BrowserKind, CloseReason, SessionId, StartOrder
from browser_node.domain.errors import BrowserTypeUnavailable, OptionUnavailable
from browser_node.domain.options import BrowserOptions, BrowserTier, CustomProxy, Geolocation, Receipt, Viewport
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2
from browserfleet.session.v1 import session_pb2

_TIERS = {
    browser_pb2.BROWSER_TIER_UNSPECIFIED: BrowserTier.FULL,
    browser_pb2.BROWSER_TIER_FULL: BrowserTier.FULL,
    browser_pb2.BROWSER_TIER_LEAN: BrowserTier.LEAN,
}
_KINDS = {
    browser_pb2.BROWSER_TYPE_UNSPECIFIED: BrowserKind.CHROME,
    browser_pb2.BROWSER_TYPE_CHROME: BrowserKind.CHROME,
    browser_pb2.BROWSER_TYPE_MSEDGE: BrowserKind.MSEDGE,
}


def order_from_proto(request: browser_service_pb2.StartBrowserRequest, trace_headers: Mapping[str, str]) -> StartOrder:
    """Raises BrowserTypeUnavailable, OptionUnavailable for what only a newer session-api knows."""
    kind = _KINDS.get(request.spec.browser_type)
    if kind is None:
        raise BrowserTypeUnavailable("This node does not know this kind of browser.")
    return StartOrder(
        session_id=SessionId(request.session_id),
        epoch=request.epoch,
        organization_id=request.organization_id,
        kind=kind,
        remaining=request.remaining.ToTimedelta(),
        artifact_token=request.artifact_token,
        trace_headers=trace_headers,
        options=_options_from_proto(request.spec),
    )


def _options_from_proto(spec: browser_pb2.BrowserSpec) -> BrowserOptions:
    """Raises OptionUnavailable for a tier that only a newer session-api knows."""
    tier = _TIERS.get(spec.tier)
    if tier is None:
        raise OptionUnavailable("This node does not know this tier.", option="tier", value=str(spec.tier))
    return BrowserOptions(
        tier=tier,
        viewport=Viewport(spec.viewport.width, spec.viewport.height) if spec.HasField("viewport") else None,
        user_agent=spec.user_agent,
        locale=spec.locale,
        timezone=spec.timezone,
        geolocation=_geolocation_from_proto(spec),
        start_url=spec.start_url,
        headers=dict(spec.headers),
        permissions=tuple(spec.permissions),
        proxy_location=spec.proxy_location,
        proxy=_proxy_from_proto(spec),
        extensions=tuple(spec.extensions),
    )


def _geolocation_from_proto(spec: browser_pb2.BrowserSpec) -> Geolocation | None:
    if not spec.HasField("geolocation"):
        return None
    place = spec.geolocation
    return Geolocation(latitude=place.latitude, longitude=place.longitude, accuracy_meters=place.accuracy_meters)


def _proxy_from_proto(spec: browser_pb2.BrowserSpec) -> CustomProxy | None:
    if not spec.HasField("proxy"):
        return None
    return CustomProxy(url=spec.proxy.url, username=spec.proxy.username, password=spec.proxy.password)


def browser_to_proto(session_id: str, epoch: int, facts: BrowserFacts) -> browser_pb2.Browser:
    return browser_pb2.Browser(
        session_id=session_id,
        epoch=epoch,
        product=facts.product,
        user_agent=facts.user_agent,
        start_mode=browser_pb2.START_MODE_WARM if facts.warm else browser_pb2.START_MODE_COLD,
        start_mode_message=facts.start_message,
        sandboxed=facts.sandboxed,
        receipts=[_receipt_to_proto(receipt) for receipt in facts.receipts],
    )


def _receipt_to_proto(receipt: Receipt) -> browser_pb2.Receipt:
    return browser_pb2.Receipt(
        option=receipt.option,
        requested=receipt.requested,
        reported=receipt.reported,
        state=browser_pb2.Receipt.State.Value(f"STATE_{receipt.state.value}"),
        message=receipt.message,
    )


def reason_from_proto(reason: session_pb2.CloseReason.ValueType) -> CloseReason:
    """A reason that is not given, or that only a newer session-api knows, is somebody's request."""
    try:
        return CloseReason(session_pb2.CloseReason.Name(reason).removeprefix("CLOSE_REASON_"))
    except ValueError:
        return CloseReason.USER_REQUESTED
