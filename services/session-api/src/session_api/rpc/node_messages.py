"""Nodes: protos to the service's values and back."""

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.times import duration, timestamp
from session_api.domain.browser import BrowserTier
from session_api.domain.caller import Caller
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import (
    Assignment,
    EndedBrowser,
    NewNode,
    Node,
    NodeReport,
    NodeState,
    Pressure,
    RunningBrowser,
)
from session_api.domain.session import Session
from session_api.rpc.values import browser_type, known

_LONGEST_MESSAGE = 500


def new_node(request: node_service_pb2.RegisterNodeRequest, caller: Caller) -> NewNode:
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
        owner_id=caller.organization_id,
        capabilities=_capabilities(request.capabilities),
    )


def report_of(request: node_service_pb2.HeartbeatRequest) -> NodeReport:
    return NodeReport(
        node_id=NodeId(request.node_id),
        registration_id=request.registration_id,
        running=[_running(browser) for browser in request.running],
        ended=[_ended(browser) for browser in request.ended],
        draining=request.draining,
        pressure=_pressure(request.pressure) if request.HasField("pressure") else None,
        warm_browsers=request.warm_browsers,
    )


def states_of(request: node_service_pb2.ListNodesRequest) -> list[NodeState]:
    return [NodeState(node_pb2.Node.State.Name(state).removeprefix("STATE_")) for state in request.states if state]


def assignment_to_proto(assignment: Assignment) -> node_pb2.Assignment:
    return node_pb2.Assignment(
        session_id=assignment.session_id,
        epoch=assignment.epoch,
        remaining=duration(assignment.remaining),
        control_generation=assignment.control_generation,
    )


def node_to_proto(node: Node, sessions: list[Session] | None = None) -> node_pb2.Node:
    proto = node_pb2.Node(
        id=node.id,
        name=node.name,
        state=node_pb2.Node.State.Value(f"STATE_{node.state}"),
        address=node.address,
        attach_url=node.attach_url,
        slots=node.slots,
        slots_used=node.slots_used,
        browsers=[
            node_pb2.InstalledBrowser(
                browser_type=browser_pb2.BrowserType.Value(f"BROWSER_TYPE_{kind}"), product=product
            )
            for kind, product in node.browsers.items()
        ],
        register_time=timestamp(node.register_time),
        heartbeat_time=timestamp(node.heartbeat_time),
        drain_time=timestamp(node.drain_time),
        sessions=[_held(session) for session in sessions or []],
        capabilities=node_pb2.NodeCapabilities(
            tiers=sorted(browser_pb2.BrowserTier.Value(f"BROWSER_TIER_{tier}") for tier in node.capabilities.tiers),
            proxy_locations=sorted(node.capabilities.proxy_locations),
            extensions=sorted(node.capabilities.extensions),
        ),
        warm_browsers=node.warm_browsers,
    )
    if node.pressure is not None:
        proto.pressure.cpu = node.pressure.cpu
        proto.pressure.memory = node.pressure.memory
    return proto


def _capabilities(message: node_pb2.NodeCapabilities) -> Capabilities:
    # A newer node may have tiers that this version does not know.
    named = (known(browser_pb2.BrowserTier.DESCRIPTOR, tier, "BROWSER_TIER_") for tier in message.tiers)
    tiers = frozenset(BrowserTier(name) for name in named if name in BrowserTier.__members__)
    locations, extensions = frozenset(message.proxy_locations), frozenset(message.extensions)
    if not message.tiers:
        return Capabilities(proxy_locations=locations, extensions=extensions)
    return Capabilities(tiers=tiers, proxy_locations=locations, extensions=extensions)


def _running(browser: node_pb2.RunningBrowser) -> RunningBrowser:
    return RunningBrowser(
        session_id=SessionId(browser.session_id),
        epoch=browser.epoch,
        client_count=browser.client_count,
        viewer_count=browser.viewer_count,
        input_idle=browser.input_idle.ToTimedelta() if browser.HasField("input_idle") else None,
    )


def _ended(browser: node_pb2.EndedBrowser) -> EndedBrowser:
    # A newer node may know reasons that this version does not.
    reason = known(session_pb2.CloseReason.DESCRIPTOR, browser.close_reason, "CLOSE_REASON_")
    return EndedBrowser(
        session_id=SessionId(browser.session_id),
        epoch=browser.epoch,
        close_reason=CloseReason(reason) if reason in CloseReason.__members__ else CloseReason.BROWSER_CRASHED,
        # Whatever it holds, it must not stand in the way of the report.
        message=browser.message.replace("\0", "")[:_LONGEST_MESSAGE],
    )


def _pressure(pressure: node_pb2.NodePressure) -> Pressure:
    return Pressure(cpu=pressure.cpu, memory=pressure.memory)


def _held(session: Session) -> node_pb2.NodeSession:
    return node_pb2.NodeSession(
        session_id=session.id,
        organization_id=session.organization_id,
        state=session_pb2.Session.State.Value(f"STATE_{session.state}"),
        expire_time=timestamp(session.expire_time),
        client_count=session.client_count,
    )
