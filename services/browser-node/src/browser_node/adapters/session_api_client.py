"""session-api's NodeService over gRPC."""

from datetime import timedelta

import grpc

from browser_node.domain.browser import (
    Assignment,
    BrowserKind,
    CloseReason,
    EndedBrowser,
    RunningBrowser,
    SessionId,
)
from browser_node.domain.errors import RegistrationEnded
from browser_node.domain.options import BrowserTier
from browser_node.usecases.ports import Instructions, NodeProfile, Pressure, Registration, Report
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2, node_service_pb2_grpc
from browserfleet.session.v1 import session_pb2
from fleetkit.errors import FleetError
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.rpc.times import duration
from fleetkit.settings import Secret

_CALL_TIMEOUT = timedelta(seconds=5)

_BROWSER_TYPES = {
    BrowserKind.CHROME: browser_pb2.BROWSER_TYPE_CHROME,
    BrowserKind.MSEDGE: browser_pb2.BROWSER_TYPE_MSEDGE,
}

_TIERS = {
    BrowserTier.FULL: browser_pb2.BROWSER_TIER_FULL,
    BrowserTier.LEAN: browser_pb2.BROWSER_TIER_LEAN,
}


class GrpcFleetGateway:
    """A FleetGateway."""

    def __init__(self, channel: grpc.aio.Channel, *, key: Secret) -> None:
        self._stub = node_service_pb2_grpc.NodeServiceStub(channel)
        self._key = key

    async def register(self, profile: NodeProfile) -> Registration:
        request = node_service_pb2.RegisterNodeRequest(
            name=profile.name,
            address=profile.address,
            attach_url=profile.attach_url,
            slots=profile.slots,
            browsers=[
                node_pb2.InstalledBrowser(browser_type=_BROWSER_TYPES[browser.kind], product=browser.product)
                for browser in profile.browsers
            ],
            capabilities=node_pb2.NodeCapabilities(
                tiers=[_TIERS[tier] for tier in profile.capabilities.tiers],
                proxy_locations=profile.capabilities.proxy_locations,
                extensions=profile.capabilities.extensions,
            ),
        )
        with typed_errors():
            answer = await self._stub.RegisterNode(
                request, timeout=_CALL_TIMEOUT.total_seconds(), metadata=bearer(self._key.reveal())
            )
        return Registration(
            node_id=answer.node_id,
            registration_id=answer.registration_id,
            heartbeat_interval=answer.heartbeat_interval.ToTimedelta(),
            token_public_key=answer.token_public_key,
            isolation_budget=answer.isolation_budget.ToTimedelta(),
        )

    async def heartbeat(self, registration: Registration, report: Report) -> Instructions:
        request = node_service_pb2.HeartbeatRequest(
            node_id=registration.node_id,
            registration_id=registration.registration_id,
            running=[_running_to_proto(browser) for browser in report.running],
            ended=[_ended_to_proto(ended) for ended in report.ended],
            draining=report.draining,
            pressure=_pressure_to_proto(report.pressure),
            warm_browsers=report.warm_count,
        )
        try:
            with typed_errors():
                answer = await self._stub.Heartbeat(
                    request, timeout=_CALL_TIMEOUT.total_seconds(), metadata=bearer(self._key.reveal())
                )
        except FleetError as error:
            if error.reason == RegistrationEnded.reason:
                raise RegistrationEnded(error.message) from error
            raise
        return Instructions(
            assignments=[
                Assignment(
                    SessionId(wanted.session_id),
                    wanted.epoch,
                    wanted.remaining.ToTimedelta(),
                    control_generation=wanted.control_generation,
                )
                for wanted in answer.assignments
            ],
            heartbeat_interval=answer.heartbeat_interval.ToTimedelta(),
        )


def _running_to_proto(browser: RunningBrowser) -> node_pb2.RunningBrowser:
    return node_pb2.RunningBrowser(
        session_id=browser.session_id,
        epoch=browser.epoch,
        client_count=browser.client_count,
        viewer_count=browser.viewer_count,
        input_idle=duration(browser.input_idle) if browser.input_idle is not None else None,
    )


def _pressure_to_proto(pressure: Pressure | None) -> node_pb2.NodePressure | None:
    return node_pb2.NodePressure(cpu=pressure.cpu, memory=pressure.memory) if pressure is not None else None


def _ended_to_proto(ended: EndedBrowser) -> node_pb2.EndedBrowser:
    return node_pb2.EndedBrowser(
        session_id=ended.session_id,
        epoch=ended.epoch,
        close_reason=_reason_to_proto(ended.end.reason),
        message=ended.end.message,
    )


def _reason_to_proto(reason: CloseReason) -> session_pb2.CloseReason.ValueType:
    return session_pb2.CloseReason.Value(f"CLOSE_REASON_{reason.value}")
