"""session-api's nodes behind the port."""

import grpc

from browserfleet.node.v1 import node_service_pb2, node_service_pb2_grpc
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.settings import Secret
from reaper.ports import NodeReport

_CALL_SECONDS = 10.0


class GrpcNodeGateway:
    """Calls with a service key; every call has a deadline of its own."""

    def __init__(self, channel: grpc.aio.Channel, *, service_key: Secret) -> None:
        self._stub: node_service_pb2_grpc.NodeServiceAsyncStub = node_service_pb2_grpc.NodeServiceStub(channel)
        self._metadata = bearer(service_key.reveal())

    async def reap(self) -> NodeReport:
        request = node_service_pb2.ReapNodesRequest()
        with typed_errors():
            done = await self._stub.ReapNodes(request, timeout=_CALL_SECONDS, metadata=self._metadata)
        return NodeReport(
            lost=done.lost_count,
            failed_sessions=done.failed_session_count,
            drained_sessions=done.drained_session_count,
        )
