"""The only place that names concrete classes; it reads as the start order."""

import asyncio
import hashlib
import random
from datetime import timedelta

from browserfleet.artifact.v1 import artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.node.v1 import node_service_pb2, node_service_pb2_grpc
from browserfleet.organization.v1 import organization_service_pb2, organization_service_pb2_grpc
from browserfleet.session.v1 import session_service_pb2, session_service_pb2_grpc
from browserfleet.usage.v1 import usage_service_pb2, usage_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks, background, every
from fleetkit.postgres import open_pool
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving
from fleetkit.sealing import SecretBox
from fleetkit.settings import Secret
from fleetkit.tokens import TokenSigner
from session_api.adapters.nats_relay import OutboxRelay
from session_api.adapters.node_client import GrpcNodeGateway
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.adapters.postgres.outbox import OutboxReader
from session_api.control_plane import ControlPlane, ControlPolicy
from session_api.domain.caller import Scope
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits, Organization
from session_api.edge.app import edge_app, serving_edge
from session_api.edge.door import AttachDoor
from session_api.rpc.artifact_servicer import ArtifactServicer
from session_api.rpc.authenticator import ApiKeyAuthenticator
from session_api.rpc.node_servicer import NodeServicer, NodeTerms
from session_api.rpc.organization_servicer import OrganizationServicer
from session_api.rpc.session_servicer import SessionServicer
from session_api.rpc.usage_servicer import UsageServicer
from session_api.settings import Settings
from session_api.usecases.access import Access
from session_api.usecases.admission import QueuePolicy
from session_api.usecases.attaching import Attaching
from session_api.usecases.organizations import Organizations
from session_api.usecases.ports import Bells
from session_api.usecases.sealing import SecretSealing

# Another replica may have freed a slot, or let somebody stand in the queue.
_DISPATCH_INTERVAL = timedelta(seconds=1)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    clock, ids = SystemClock(), RandomIds()
    relay_bell, queue_bell = asyncio.Event(), asyncio.Event()
    signer, policy = TokenSigner(settings.token_private_key.reveal()), _policy(settings)
    sealing = SecretSealing(SecretBox(policy.token_secret))
    async with (
        open_pool(settings.postgres_dsn, max_size=settings.postgres_pool_size) as pool,
        GrpcNodeGateway(signer, sealing, clock=clock, tls=settings.tls) as node_gateway,
        channel(settings.artifact_store_address, tls=settings.tls) as artifact_store,
        OwnedTasks() as tasks,
    ):
        database = PostgresDatabase(pool, ids)
        await database.check()
        plane = ControlPlane(
            database=database,
            nodes=node_gateway,
            clock=clock,
            ids=ids,
            tasks=tasks,
            bells=Bells(relay=relay_bell, queue=queue_bell),
            chance=random.Random(),  # noqa: S311  # spreads load, keeps no secret
            policy=policy,
        )
        attaching = Attaching(database=database, signer=signer, clock=clock, edge_url=settings.edge_url)
        door = AttachDoor(access=plane.access, attaching=attaching)
        outbox_relay = OutboxRelay(
            outbox=OutboxReader(pool), nats_url=settings.nats_url, nats_token=settings.nats_token, wake=relay_bell
        )
        terms = NodeTerms(
            heartbeat_interval=settings.heartbeat_interval,
            isolation_budget=settings.isolation_budget,
            public_key=signer.public_key_pem,
        )
        artifacts = ArtifactServicer(
            store=artifact_service_pb2_grpc.ArtifactServiceStub(artifact_store), signer=signer, sessions=plane.sessions
        )
        async with (
            background(
                outbox_relay.run(),
                plane.hub.run(),
                every(_DISPATCH_INTERVAL, plane.dispatching.dispatch, wake=queue_bell),
            ),
            serving_edge(settings.http_listen, edge_app(door, database.check), door),
            serving(
                settings.grpc_listen,
                services(plane, attaching=attaching, artifacts=artifacts, terms=terms),
                authenticator=ApiKeyAuthenticator(plane.access),
                tls=settings.tls,
            ),
        ):
            await stop.wait()
            # Watchers would stay until they are cut off: they find another replica sooner.
            plane.hub.stop()


def services(
    plane: ControlPlane, *, attaching: Attaching, artifacts: ArtifactServicer, terms: NodeTerms
) -> list[Service]:
    """Return the gRPC front door's services."""
    tokens = plane.page_tokens
    session_servicer = SessionServicer(
        sessions=plane.sessions,
        leasing=plane.leasing,
        reaping=plane.reaping,
        watching=plane.watching,
        dispatching=plane.dispatching,
        attaching=attaching,
        page_tokens=tokens,
    )
    node_servicer = NodeServicer(
        nodes=plane.nodes,
        operations=plane.node_operations,
        reaping=plane.reaping,
        terms=terms,
        page_tokens=tokens,
    )
    organization_servicer = OrganizationServicer(organizations=plane.organizations, page_tokens=tokens)
    usage_servicer = UsageServicer(metering=plane.metering, page_tokens=tokens)
    return [
        Service(
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
            lambda server: session_service_pb2_grpc.add_SessionServiceServicer_to_server(session_servicer, server),
        ),
        Service(
            node_service_pb2.DESCRIPTOR.services_by_name["NodeService"].full_name,
            lambda server: node_service_pb2_grpc.add_NodeServiceServicer_to_server(node_servicer, server),
            untraced=("Heartbeat", "ReapNodes"),
        ),
        Service(
            organization_service_pb2.DESCRIPTOR.services_by_name["OrganizationService"].full_name,
            lambda server: organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server(
                organization_servicer, server
            ),
        ),
        Service(
            usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name,
            lambda server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage_servicer, server),
        ),
        Service(
            artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name,
            lambda server: artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(artifacts, server),
        ),
    ]


async def migrate(dsn: Secret) -> list[str]:
    """Bring the database up to this version; return the names of the migrations that were applied."""
    return await migrate_fleet(dsn)


async def create_key(
    dsn: Secret,
    *,
    organization_id: OrganizationId,
    scope: Scope,
    display_name: str,
    max_timeout: timedelta | None,
) -> str:
    """Make an API key, and its organization where there is none."""
    ids = RandomIds()
    async with open_pool(dsn, max_size=1) as pool:
        database = PostgresDatabase(pool, ids)
        organizations = Organizations(
            database=database,
            ids=ids,
            access=Access(database=database, clock=SystemClock()),
            bells=Bells(relay=asyncio.Event(), queue=asyncio.Event()),
        )
        organization = Organization(id=organization_id, limits=Limits(max_timeout=max_timeout))
        return (await organizations.provide_key(organization, scope=scope, display_name=display_name)).secret


def _policy(settings: Settings) -> ControlPolicy:
    return ControlPolicy(
        node_lease=settings.node_lease,
        queue=QueuePolicy(timeout=settings.queue_timeout, limit=settings.queue_limit),
        allow_private_urls=settings.allow_private_urls,
        # The same on every replica, and not the signing key itself.
        token_secret=hashlib.sha256(settings.token_private_key.reveal().encode()).digest(),
    )
