"""Puts the reaper together; reads as its start order."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from fleetkit.clock import SystemClock
from fleetkit.durable_consumer import DurableConsumer
from fleetkit.errors import Unauthenticated
from fleetkit.lifecycle import background, every
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import serving
from reaper.adapters.nats_deadlines import PLAN, NatsDeadlines
from reaper.adapters.node_client import GrpcNodeGateway
from reaper.adapters.session_client import GrpcSessionGateway
from reaper.due_sessions import DueSessions
from reaper.settings import Settings
from reaper.sweeper import NodeSweeper, Sweeper, SweepLimits, until_answered

log = logging.getLogger(__name__)

_NODES_INTERVAL = timedelta(seconds=2)


class NobodyCalls:
    """The reaper serves its health and nothing else."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        raise Unauthenticated(f"The reaper does not serve {method}.")


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Reap until `stop`, whatever session-api and NATS do: messages and passes work without each other."""
    async with channel(settings.session_api_address, tls=settings.tls) as to_session_api:
        sessions = GrpcSessionGateway(to_session_api, service_key=settings.service_key, clock=SystemClock())
        nodes = GrpcNodeGateway(to_session_api, service_key=settings.service_key)
        sweep_sessions = until_answered(Sweeper(sessions=sessions, limits=SweepLimits()).sweep)
        sweep_nodes = until_answered(NodeSweeper(nodes).sweep)
        deadlines = DurableConsumer(
            PLAN,
            url=settings.nats_url,
            token=settings.nats_token,
            handle=NatsDeadlines(DueSessions(sessions).handle).receive,
        )
        async with (
            background(
                deadlines.run(),
                every(settings.sweep_interval, sweep_sessions, jitter=0.1),
                every(_NODES_INTERVAL, sweep_nodes, jitter=0.1),
            ),
            serving(settings.grpc_listen, [], authenticator=NobodyCalls(), tls=settings.tls) as server,
        ):
            log.info("reaper serves its health on port %d", server.port)
            await stop.wait()
