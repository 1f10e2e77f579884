"""NodeService."""

from datetime import timedelta

from browserfleet.node.v1 import node_service_pb2, node_service_pb2_grpc
from fleetkit.rpc.context import Context
from fleetkit.rpc.times import duration
from session_api.rpc.convert import assignment_to_proto, new_node, report_of
from session_api.usecases.nodes import Nodes


class NodeServicer(node_service_pb2_grpc.NodeServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(
        self, *, nodes: Nodes, heartbeat_interval: timedelta, isolation_budget: timedelta, public_key: str
    ) -> None:
        self._nodes = nodes
        self._heartbeat_interval = heartbeat_interval
        self._isolation_budget = isolation_budget
        self._public_key = public_key

    async def RegisterNode(
        self, request: node_service_pb2.RegisterNodeRequest, context: Context
    ) -> node_service_pb2.RegisterNodeResponse:
        registration = await self._nodes.register(new_node(request))
        return node_service_pb2.RegisterNodeResponse(
            node_id=registration.node_id,
            registration_id=registration.registration_id,
            heartbeat_interval=duration(self._heartbeat_interval),
            token_public_key=self._public_key,
            isolation_budget=duration(self._isolation_budget),
        )

    async def Heartbeat(
        self, request: node_service_pb2.HeartbeatRequest, context: Context
    ) -> node_service_pb2.HeartbeatResponse:
        assignments = await self._nodes.heartbeat(report_of(request))
        return node_service_pb2.HeartbeatResponse(
            assignments=[assignment_to_proto(assignment) for assignment in assignments],
            heartbeat_interval=duration(self._heartbeat_interval),
        )
