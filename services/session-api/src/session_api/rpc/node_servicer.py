"""NodeService: for the nodes themselves, for operators and for the reaper."""

from dataclasses import dataclass
from datetime import timedelta

from browserfleet.node.v1 import node_pb2, node_service_pb2, node_service_pb2_grpc
from fleetkit.paging import PageTokens
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.context import Context
from fleetkit.rpc.times import duration
from session_api.domain.caller import Caller
from session_api.domain.identifiers import NodeId
from session_api.rpc.node_messages import assignment_to_proto, new_node, node_to_proto, report_of, states_of
from session_api.usecases.node_operations import NodeOperations
from session_api.usecases.nodes import Nodes
from session_api.usecases.reaping import Reaping

_DRAIN_TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTerms:
    """What every node is told when it registers. `public_key` (PEM) verifies attach and control tokens."""

    heartbeat_interval: timedelta
    isolation_budget: timedelta
    public_key: str


class NodeServicer(node_service_pb2_grpc.NodeServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(
        self, *, nodes: Nodes, operations: NodeOperations, reaping: Reaping, terms: NodeTerms, page_tokens: PageTokens
    ) -> None:
        self._nodes = nodes
        self._operations = operations
        self._reaping = reaping
        self._terms = terms
        self._page_tokens = page_tokens

    async def RegisterNode(
        self, request: node_service_pb2.RegisterNodeRequest, context: Context
    ) -> node_service_pb2.RegisterNodeResponse:
        registration = await self._nodes.register(new_node(request, current_caller(Caller)))
        return node_service_pb2.RegisterNodeResponse(
            node_id=registration.node_id,
            registration_id=registration.registration_id,
            heartbeat_interval=duration(self._terms.heartbeat_interval),
            token_public_key=self._terms.public_key,
            isolation_budget=duration(self._terms.isolation_budget),
        )

    async def Heartbeat(
        self, request: node_service_pb2.HeartbeatRequest, context: Context
    ) -> node_service_pb2.HeartbeatResponse:
        assignments = await self._nodes.heartbeat(report_of(request))
        return node_service_pb2.HeartbeatResponse(
            assignments=[assignment_to_proto(assignment) for assignment in assignments],
            heartbeat_interval=duration(self._terms.heartbeat_interval),
        )

    async def GetNode(self, request: node_service_pb2.GetNodeRequest, context: Context) -> node_pb2.Node:
        details = await self._operations.get(NodeId(request.node_id))
        return node_to_proto(details.node, details.sessions)

    async def ListNodes(
        self, request: node_service_pb2.ListNodesRequest, context: Context
    ) -> node_service_pb2.ListNodesResponse:
        states = states_of(request)
        query = f"nodes {states}"
        wanted = self._page_tokens.request(page_size=request.page_size, page_token=request.page_token, query=query)
        page = await self._operations.list(states, wanted)
        return node_service_pb2.ListNodesResponse(
            nodes=[node_to_proto(node) for node in page.items],
            next_page_token=self._page_tokens.token(page, query=query),
        )

    async def CordonNode(self, request: node_service_pb2.CordonNodeRequest, context: Context) -> node_pb2.Node:
        return node_to_proto(await self._operations.cordon(NodeId(request.node_id)))

    async def UncordonNode(self, request: node_service_pb2.UncordonNodeRequest, context: Context) -> node_pb2.Node:
        return node_to_proto(await self._operations.uncordon(NodeId(request.node_id)))

    async def DrainNode(self, request: node_service_pb2.DrainNodeRequest, context: Context) -> node_pb2.Node:
        timeout = request.timeout.ToTimedelta() if request.HasField("timeout") else _DRAIN_TIMEOUT
        if request.mode == node_service_pb2.DrainNodeRequest.MODE_CLOSE:
            timeout = timedelta(0)
        return node_to_proto(await self._operations.drain(NodeId(request.node_id), timeout=timeout))

    async def ReapNodes(
        self, request: node_service_pb2.ReapNodesRequest, context: Context
    ) -> node_service_pb2.ReapNodesResponse:
        reaped = await self._reaping.reap_nodes()
        return node_service_pb2.ReapNodesResponse(
            lost_count=reaped.lost, failed_session_count=reaped.failed, drained_session_count=reaped.drained
        )
