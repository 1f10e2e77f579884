"""Protos to the service's values and back."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.errors import InvalidArgument
from fleetkit.rpc.times import duration, timestamp
from session_api.domain.caller import Caller
from session_api.domain.node import Assignment, EndedBrowser, NewNode, NodeReport, RunningBrowser
from session_api.domain.session import (
    BrowserSpec,
    BrowserType,
    CloseReason,
    NodeId,
    Session,
    SessionId,
    SessionState,
)
from session_api.usecases.attaching import AttachEndpoint
from session_api.usecases.creation import NewSession
from session_api.usecases.ports import SessionQuery

_LONGEST_MESSAGE = 500
_UNSPECIFIED_BROWSER = browser_pb2.BROWSER_TYPE_UNSPECIFIED


def new_session(request: session_service_pb2.CreateSessionRequest) -> NewSession:
    return NewSession(
        spec=BrowserSpec(browser_type=browser_type(request.spec.browser_type)),
        timeout=request.timeout.ToTimedelta() if request.HasField("timeout") else None,
        request_id=request.request_id,
    )


def browser_type(value: browser_pb2.BrowserType.ValueType) -> BrowserType:
    """Return the kind of browser; raises InvalidArgument for one that this version does not know."""
    if value == _UNSPECIFIED_BROWSER:
        return BrowserType.CHROME
    if value not in browser_pb2.BrowserType.values():
        fault = "must be a browser type that this version knows"
        raise InvalidArgument(f"The request is not valid: browser_type: {fault}.", fields={"spec.browser_type": fault})
    return BrowserType(browser_pb2.BrowserType.Name(value).removeprefix("BROWSER_TYPE_"))


def query_of(request: session_service_pb2.ListSessionsRequest, caller: Caller) -> SessionQuery:
    narrow = request.filter
    states = (session_pb2.Session.State.Name(state).removeprefix("STATE_") for state in narrow.states if state)
    expire_before = narrow.expire_before
    return SessionQuery(
        organization_id=caller.visible_organization,
        states=tuple(SessionState(state) for state in states),
        expire_before=_instant(expire_before) if narrow.HasField("expire_before") else None,
        node_id=NodeId(narrow.node_id) if narrow.node_id else None,
    )


def session_to_proto(session: Session, *, cdp_url: str, attach: AttachEndpoint | None = None) -> session_pb2.Session:
    proto = session_pb2.Session(
        id=session.id,
        organization_id=session.organization_id,
        state=session_pb2.Session.State.Value(f"STATE_{session.state}"),
        close_message=session.close_message,
        open=session.is_open,
        spec=browser_pb2.BrowserSpec(
            browser_type=browser_pb2.BrowserType.Value(f"BROWSER_TYPE_{session.spec.browser_type}")
        ),
        timeout=duration(session.timeout),
        create_time=timestamp(session.create_time),
        start_time=timestamp(session.start_time),
        expire_time=timestamp(session.expire_time),
        end_time=timestamp(session.end_time),
        node_id=session.allocation.node_id if session.allocation else "",
        epoch=session.epoch,
        cdp_url=cdp_url,
        client_count=session.client_count,
        warnings=session.warnings,
    )
    if session.close_reason is not None:
        proto.close_reason = session_pb2.CloseReason.Value(f"CLOSE_REASON_{session.close_reason}")
    if session.browser is not None:
        proto.browser.session_id = session.id
        proto.browser.epoch = session.epoch
        proto.browser.product = session.browser.product
        proto.browser.user_agent = session.browser.user_agent
        proto.browser.start_mode = browser_pb2.START_MODE_WARM if session.browser.warm else browser_pb2.START_MODE_COLD
        proto.browser.sandboxed = session.browser.sandboxed
    if attach is not None:
        proto.attach.direct_url = attach.direct_url
        proto.attach.edge_url = attach.edge_url
        proto.attach.expire_time.FromDatetime(attach.expire_time)
    return proto


def new_node(request: node_service_pb2.RegisterNodeRequest) -> NewNode:
    return NewNode(
        name=request.name,
        address=request.address,
        attach_url=request.attach_url,
        slots=request.slots,
        # A newer node may have kinds that this version does not know.
        browsers={
            browser_type(browser.browser_type): browser.product
            for browser in request.browsers
            if browser.browser_type in browser_pb2.BrowserType.values()
        },
    )


def report_of(request: node_service_pb2.HeartbeatRequest) -> NodeReport:
    return NodeReport(
        node_id=NodeId(request.node_id),
        registration_id=request.registration_id,
        running=[
            RunningBrowser(
                session_id=SessionId(browser.session_id), epoch=browser.epoch, client_count=browser.client_count
            )
            for browser in request.running
        ],
        ended=[
            EndedBrowser(
                session_id=SessionId(browser.session_id),
                epoch=browser.epoch,
                close_reason=_close_reason(browser.close_reason),
                # Whatever it holds, it must not stand in the way of the report.
                message=browser.message.replace("\0", "")[:_LONGEST_MESSAGE],
            )
            for browser in request.ended
        ],
        draining=request.draining,
    )


def assignment_to_proto(assignment: Assignment) -> node_pb2.Assignment:
    return node_pb2.Assignment(
        session_id=assignment.session_id, epoch=assignment.epoch, remaining=duration(assignment.remaining)
    )


def _close_reason(value: session_pb2.CloseReason.ValueType) -> CloseReason:
    # A newer node may know reasons that this version does not.
    known = value in session_pb2.CloseReason.values() and value != session_pb2.CLOSE_REASON_UNSPECIFIED
    name = session_pb2.CloseReason.Name(value).removeprefix("CLOSE_REASON_") if known else ""
    return CloseReason(name) if name in CloseReason.__members__ else CloseReason.BROWSER_CRASHED


def _instant(value: Timestamp) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        fault = "must be an instant of the years 1 to 9999"
        raise InvalidArgument(f"The request is not valid: {fault}.", fields={"filter.expire_before": fault}) from error
