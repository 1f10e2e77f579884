"""session-api's front door on a free port: the real servicers and interceptors, the rest as a test gives it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import grpc

from browserfleet.artifact.v1 import artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.node.v1 import node_service_pb2, node_service_pb2_grpc
from browserfleet.session.v1 import session_service_pb2, session_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.paging import PageTokens
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving
from session_api.rpc.artifact_servicer import ArtifactServicer
from session_api.rpc.authenticator import ApiKeyAuthenticator
from session_api.rpc.node_servicer import NodeServicer
from session_api.rpc.session_servicer import SessionServicer
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attaching
from session_api.usecases.nodes import Nodes
from session_api.usecases.ports import Database
from session_api.usecases.sessions import Sessions
from tests.support.keys import the_signer


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """A channel to the server, and its stubs."""

    address: str
    channel: grpc.aio.Channel
    sessions: "session_service_pb2_grpc.SessionServiceAsyncStub"
    nodes: "node_service_pb2_grpc.NodeServiceAsyncStub"
    artifacts: "artifact_service_pb2_grpc.ArtifactServiceAsyncStub"


@contextlib.asynccontextmanager
async def serving_front_door(
    *, database: Database, sessions: Sessions, nodes: Nodes, artifact_store: str = "127.0.0.1:1"
) -> AsyncIterator[FrontDoor]:
    """Serve within the block."""
    attaching = Attaching(database=database, signer=the_signer(), clock=SystemClock(), edge_url="http://edge.test")
    session_servicer = SessionServicer(sessions=sessions, attaching=attaching, page_tokens=PageTokens(b"secret"))
    node_servicer = NodeServicer(
        nodes=nodes,
        heartbeat_interval=timedelta(seconds=5),
        isolation_budget=timedelta(seconds=120),
        public_key=the_signer().public_key_pem,
    )
    async with channel(artifact_store, retries=False) as store:
        artifact_servicer = ArtifactServicer(
            store=artifact_service_pb2_grpc.ArtifactServiceStub(store), signer=the_signer(), sessions=sessions
        )
        services = [
            Service(
                session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
                lambda server: session_service_pb2_grpc.add_SessionServiceServicer_to_server(session_servicer, server),
            ),
            Service(
                node_service_pb2.DESCRIPTOR.services_by_name["NodeService"].full_name,
                lambda server: node_service_pb2_grpc.add_NodeServiceServicer_to_server(node_servicer, server),
            ),
            Service(
                artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name,
                lambda server: artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(
                    artifact_servicer, server
                ),
            ),
        ]
        authenticator = ApiKeyAuthenticator(Access(database=database))
        async with (
            serving("127.0.0.1:0", services, authenticator=authenticator) as server,
            channel(f"127.0.0.1:{server.port}", retries=False) as opened,
        ):
            yield FrontDoor(
                address=f"127.0.0.1:{server.port}",
                channel=opened,
                sessions=session_service_pb2_grpc.SessionServiceStub(opened),
                nodes=node_service_pb2_grpc.NodeServiceStub(opened),
                artifacts=artifact_service_pb2_grpc.ArtifactServiceStub(opened),
            )
