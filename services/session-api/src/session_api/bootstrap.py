"""The only place that names concrete classes; it reads as the start order."""

import asyncio
import hashlib
from datetime import timedelta

from browserfleet.artifact.v1 import artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.node.v1 import node_service_pb2, node_service_pb2_grpc
from browserfleet.session.v1 import session_service_pb2, session_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks, background, every
from fleetkit.paging import PageTokens
from fleetkit.postgres import open_pool
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving
from fleetkit.settings import Secret
from fleetkit.tokens import TokenSigner
from session_api.adapters.nats_relay import OutboxRelay
from session_api.adapters.node_client import GrpcNodeGateway
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.adapters.postgres.outbox import OutboxReader
from session_api.domain.caller import Scope
from session_api.domain.session import OrganizationId
from session_api.edge.app import edge_app, serving_edge
from session_api.edge.door import AttachDoor
from session_api.rpc.artifact_servicer import ArtifactServicer
from session_api.rpc.authenticator import ApiKeyAuthenticator
from session_api.rpc.node_servicer import NodeServicer
from session_api.rpc.session_servicer import SessionServicer
from session_api.settings import Settings
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attaching
from session_api.usecases.nodes import Nodes
from session_api.usecases.sessions import Sessions

_LOST_NODES_INTERVAL = timedelta(seconds=2)
_STUCK_INTERVAL = timedelta(seconds=5)
# Longer than the node gateway waits, so that nobody is still at it.
_START_TIMEOUT = timedelta(seconds=60)
_STOP_TIMEOUT = timedelta(seconds=30)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    clock, ids, relay = SystemClock(), RandomIds(), asyncio.Event()
    signer = TokenSigner(settings.token_private_key.reveal())
    async with (
        open_pool(settings.postgres_dsn, max_size=settings.postgres_pool_size) as pool,
        GrpcNodeGateway(signer) as node_gateway,
        channel(settings.artifact_store_address) as artifact_store,
        OwnedTasks() as tasks,
    ):
        database = PostgresDatabase(pool, ids)
        await database.check()
        sessions = Sessions(database=database, nodes=node_gateway, ids=ids, tasks=tasks, relay=relay)
        nodes = Nodes(database=database, clock=clock, ids=ids, relay=relay, lease=settings.node_lease)
        access = Access(database=database)
        attaching = Attaching(database=database, signer=signer, clock=clock, edge_url=settings.edge_url)
        session_servicer = SessionServicer(sessions=sessions, attaching=attaching, page_tokens=_page_tokens(settings))
        node_servicer = NodeServicer(
            nodes=nodes,
            heartbeat_interval=settings.heartbeat_interval,
            isolation_budget=settings.isolation_budget,
            public_key=signer.public_key_pem,
        )
        artifact_servicer = ArtifactServicer(
            store=artifact_service_pb2_grpc.ArtifactServiceStub(artifact_store), signer=signer, sessions=sessions
        )
        door = AttachDoor(access=access, attaching=attaching)

        async def finish_stuck() -> None:
            await sessions.finish_stuck(start_timeout=_START_TIMEOUT, stop_timeout=_STOP_TIMEOUT)

        outbox_relay = OutboxRelay(
            outbox=OutboxReader(pool), nats_url=settings.nats_url, nats_token=settings.nats_token, wake=relay
        )
        async with (
            background(
                outbox_relay.run(),
                every(_LOST_NODES_INTERVAL, nodes.give_up_lost),
                every(_STUCK_INTERVAL, finish_stuck),
            ),
            serving_edge(settings.http_listen, edge_app(door, database.check), door),
            serving(
                settings.grpc_listen,
                [
                    Service(
                        session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
                        lambda server: session_service_pb2_grpc.add_SessionServiceServicer_to_server(
                            session_servicer, server
                        ),
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
                ],
                authenticator=ApiKeyAuthenticator(access),
            ),
        ):
            await stop.wait()


async def migrate(dsn: Secret) -> list[str]:
    """Bring the database up to this version; return the names of the migrations that were applied."""
    return await migrate_fleet(dsn)


async def create_key(
    dsn: Secret, *, organization_id: OrganizationId, scope: Scope, max_timeout: timedelta | None
) -> str:
    """Make an API key, and its organization where there is none."""
    async with open_pool(dsn, max_size=1) as pool:
        access = Access(database=PostgresDatabase(pool, RandomIds()))
        return await access.create_key(organization_id=organization_id, scope=scope, max_timeout=max_timeout)


def _page_tokens(settings: Settings) -> PageTokens:
    # The same on every replica, and not the signing key itself.
    return PageTokens(hashlib.sha256(settings.token_private_key.reveal().encode()).digest())
