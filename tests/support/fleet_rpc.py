"""session-api's front door on a free port: the real servicers and interceptors, the rest as a test gives it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import grpc

from browserfleet.artifact.v1 import artifact_service_pb2_grpc
from browserfleet.node.v1 import node_service_pb2_grpc
from browserfleet.organization.v1 import organization_service_pb2_grpc
from browserfleet.session.v1 import session_service_pb2_grpc
from browserfleet.usage.v1 import usage_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import serving
from session_api.bootstrap import services
from session_api.control_plane import ControlPlane
from session_api.rpc.artifact_servicer import ArtifactServicer
from session_api.rpc.authenticator import ApiKeyAuthenticator
from session_api.rpc.node_servicer import NodeTerms
from session_api.usecases.attaching import Attaching
from session_api.usecases.ports import Database
from tests.support.keys import the_signer


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """A channel to the server, and its stubs."""

    address: str
    channel: grpc.aio.Channel
    sessions: "session_service_pb2_grpc.SessionServiceAsyncStub"
    nodes: "node_service_pb2_grpc.NodeServiceAsyncStub"
    organizations: "organization_service_pb2_grpc.OrganizationServiceAsyncStub"
    usage: "usage_service_pb2_grpc.UsageServiceAsyncStub"
    artifacts: "artifact_service_pb2_grpc.ArtifactServiceAsyncStub"


@contextlib.asynccontextmanager
async def serving_front_door(
    plane: ControlPlane, *, database: Database, artifact_store: str = "127.0.0.1:1"
) -> AsyncIterator[FrontDoor]:
    """Serve within the block."""
    attaching = Attaching(database=database, signer=the_signer(), clock=SystemClock(), edge_url="http://edge.test")
    terms = NodeTerms(
        heartbeat_interval=timedelta(seconds=5),
        isolation_budget=timedelta(seconds=120),
        public_key=the_signer().public_key_pem,
    )
    async with channel(artifact_store, retries=False) as store:
        artifacts = ArtifactServicer(
            store=artifact_service_pb2_grpc.ArtifactServiceStub(store), signer=the_signer(), sessions=plane.sessions
        )
        async with (
            serving(
                "127.0.0.1:0",
                services(plane, attaching=attaching, artifacts=artifacts, terms=terms),
                authenticator=ApiKeyAuthenticator(plane.access),
            ) as server,
            channel(f"127.0.0.1:{server.port}", retries=False) as opened,
        ):
            yield FrontDoor(
                address=f"127.0.0.1:{server.port}",
                channel=opened,
                sessions=session_service_pb2_grpc.SessionServiceStub(opened),
                nodes=node_service_pb2_grpc.NodeServiceStub(opened),
                organizations=organization_service_pb2_grpc.OrganizationServiceStub(opened),
                usage=usage_service_pb2_grpc.UsageServiceStub(opened),
                artifacts=artifact_service_pb2_grpc.ArtifactServiceStub(opened),
            )
