"""Between the contract's messages and the node's own words."""

from collections.abc import Mapping

from browser_node.domain.browser import BrowserFacts, BrowserKind, CloseReason, SessionId, StartOrder
from browser_node.domain.errors import BrowserTypeUnavailable
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2
from browserfleet.session.v1 import session_pb2

_KINDS = {
    browser_pb2.BROWSER_TYPE_UNSPECIFIED: BrowserKind.CHROME,
    browser_pb2.BROWSER_TYPE_CHROME: BrowserKind.CHROME,
    browser_pb2.BROWSER_TYPE_MSEDGE: BrowserKind.MSEDGE,
}


def order_from_proto(request: browser_service_pb2.StartBrowserRequest, trace_headers: Mapping[str, str]) -> StartOrder:
    """Raises BrowserTypeUnavailable for a kind that a newer session-api knows."""
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
    )


def browser_to_proto(session_id: str, epoch: int, facts: BrowserFacts) -> browser_pb2.Browser:
    return browser_pb2.Browser(
        session_id=session_id,
        epoch=epoch,
        product=facts.product,
        user_agent=facts.user_agent,
        start_mode=browser_pb2.START_MODE_COLD,
        sandboxed=facts.sandboxed,
    )


def reason_from_proto(reason: session_pb2.CloseReason.ValueType) -> CloseReason:
    """A reason that is not given, or that only a newer session-api knows, is somebody's request."""
    try:
        return CloseReason(session_pb2.CloseReason.Name(reason).removeprefix("CLOSE_REASON_"))
    except ValueError:
        return CloseReason.USER_REQUESTED
