"""Sessions: protos to the service's values and back."""

from datetime import timedelta

from browserfleet.browser.v1 import browser_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.times import duration, timestamp
from session_api.browser_messages import receipt_messages, spec_message
from session_api.domain.attach_scope import AttachGrant, AttachScope
from session_api.domain.caller import Caller
from session_api.domain.identifiers import NodeId
from session_api.domain.leases import HolderKind
from session_api.domain.queue import QueuePlace
from session_api.domain.session import IdleActivity, IdlePolicy, Session, SessionState
from session_api.lease_messages import control_message, occupancy_message
from session_api.rpc.spec_messages import secrets_of, spec_of
from session_api.rpc.values import browser_type, instant, known
from session_api.usecases.admission import NewSession
from session_api.usecases.attaching import AttachEndpoint
from session_api.usecases.queries import SessionOrder, SessionQuery
from session_api.usecases.watching import WatchNews

_NEWS = {
    WatchNews.SNAPSHOT: session_service_pb2.WatchSessionsResponse.TYPE_SNAPSHOT,
    WatchNews.CHANGED: session_service_pb2.WatchSessionsResponse.TYPE_CHANGED,
    WatchNews.LEFT: session_service_pb2.WatchSessionsResponse.TYPE_LEFT,
    WatchNews.BOOKMARK: session_service_pb2.WatchSessionsResponse.TYPE_BOOKMARK,
}


def new_session(request: session_service_pb2.CreateSessionRequest) -> NewSession:
    return NewSession(
        spec=spec_of(request.spec),
        secrets=secrets_of(request.spec),
        timeout=request.timeout.ToTimedelta() if request.HasField("timeout") else None,
        labels=dict(request.labels),
        idle=_idle(request),
        queue_timeout=request.queue_timeout.ToTimedelta() if request.HasField("queue_timeout") else None,
        request_id=request.request_id,
    )


def holder_kind(value: session_pb2.HolderKind.ValueType) -> HolderKind:
    return HolderKind(session_pb2.HolderKind.Name(value).removeprefix("HOLDER_KIND_"))


def query_of(narrow: session_service_pb2.SessionFilter, caller: Caller, *, order_by: str = "") -> SessionQuery:
    states = (session_pb2.Session.State.Name(state).removeprefix("STATE_") for state in narrow.states if state)
    return SessionQuery(
        organization_id=caller.visible_organization,
        states=tuple(SessionState(state) for state in states),
        browser_types=tuple(browser_type(kind) for kind in narrow.browser_types if kind),
        node_id=NodeId(narrow.node_id) if narrow.node_id else None,
        labels=dict(narrow.labels),
        create_before=instant(narrow, "create_before"),
        create_after=instant(narrow, "create_after"),
        expire_before=instant(narrow, "expire_before"),
        due_before=instant(narrow, "due_before"),
        order=SessionOrder(order_by) if order_by else SessionOrder.NEWEST,
    )


def session_to_proto(
    session: Session, *, cdp_url: str, attach: AttachEndpoint | None = None, place: QueuePlace | None = None
) -> session_pb2.Session:
    proto = session_pb2.Session(
        id=session.id,
        organization_id=session.organization_id,
        state=session_pb2.Session.State.Value(f"STATE_{session.state}"),
        close_message=session.close_message,
        open=session.is_open,
        spec=spec_message(session.spec),
        timeout=duration(session.timeout),
        create_time=timestamp(session.create_time),
        start_time=timestamp(session.start_time),
        expire_time=timestamp(session.expire_time),
        end_time=timestamp(session.end_time),
        node_id=session.allocation.node_id if session.allocation else "",
        epoch=session.epoch,
        cdp_url=cdp_url,
        client_count=session.client_count,
        viewer_count=session.viewer_count,
        warnings=session.warnings,
        labels=session.labels,
        occupied=session.occupancy is not None,
    )
    if session.close_reason is not None:
        proto.close_reason = session_pb2.CloseReason.Value(f"CLOSE_REASON_{session.close_reason}")
    if session.occupancy is not None:
        proto.occupancy.CopyFrom(occupancy_message(session.occupancy))
    if session.control is not None:
        proto.control.CopyFrom(control_message(session.control))
    if session.idle is not None:
        proto.idle_timeout.FromTimedelta(session.idle.timeout)
        proto.idle_activity = session_pb2.IdleActivity.Value(f"IDLE_ACTIVITY_{session.idle.activity}")
    _add_browser(proto, session)
    if attach is not None:
        proto.attach.CopyFrom(endpoint_to_proto(attach))
    if place is not None:
        proto.queue.position = place.position
        proto.queue.reason = session_pb2.QueueReason.Value(f"QUEUE_REASON_{place.reason}")
        proto.queue.message = place.reason.sentence
        proto.queue.expire_time.FromDatetime(place.expire_time)
    return proto


def endpoint_to_proto(endpoint: AttachEndpoint) -> session_pb2.AttachEndpoint:
    return session_pb2.AttachEndpoint(
        direct_url=endpoint.direct_url,
        edge_url=endpoint.edge_url,
        expire_time=timestamp(endpoint.expire_time),
        scope=session_pb2.AttachScope.Value(f"ATTACH_SCOPE_{endpoint.grant.scope}"),
    )


def grant_of(request: session_service_pb2.CreateAttachEndpointRequest) -> AttachGrant:
    scope = AttachScope(known(session_pb2.AttachScope.DESCRIPTOR, request.scope, "ATTACH_SCOPE_") or "FULL")
    is_control = scope is AttachScope.CONTROL
    return AttachGrant(scope=scope, control_generation=request.control_generation if is_control else 0)


def news_type(news: WatchNews) -> session_service_pb2.WatchSessionsResponse.Type.ValueType:
    return _NEWS[news]


def _idle(request: session_service_pb2.CreateSessionRequest) -> IdlePolicy | None:
    if not request.HasField("idle_timeout"):
        return None
    activity = known(session_pb2.IdleActivity.DESCRIPTOR, request.idle_activity, "IDLE_ACTIVITY_")
    return IdlePolicy(
        timeout=request.idle_timeout.ToTimedelta(),
        activity=IdleActivity(activity) if activity else IdleActivity.CONNECTION,
    )


def _add_browser(proto: session_pb2.Session, session: Session) -> None:
    if session.browser is None:
        return
    proto.browser.session_id = session.id
    proto.browser.epoch = session.epoch
    proto.browser.product = session.browser.product
    proto.browser.user_agent = session.browser.user_agent
    proto.browser.start_mode = browser_pb2.START_MODE_WARM if session.browser.warm else browser_pb2.START_MODE_COLD
    proto.browser.sandboxed = session.browser.sandboxed
    proto.browser.start_mode_message = session.browser.start_message
    proto.browser.receipts.extend(receipt_messages(session.browser.receipts))


def waiting_time(request: session_service_pb2.CreateSessionRequest, remaining: float | None) -> timedelta:
    """Return how long a create may take: it answers shortly before the call's deadline, which counts in seconds."""
    if request.wait == session_service_pb2.CreateSessionRequest.WAIT_NONE:
        return timedelta(0)
    longest = _LONGEST_WAIT if remaining is None else min(_LONGEST_WAIT, timedelta(seconds=remaining))
    return max(longest - _ANSWERING, longest / 2)


# The server's own limit on a call, and what it takes to answer.
_LONGEST_WAIT = timedelta(seconds=60)
_ANSWERING = timedelta(milliseconds=500)
