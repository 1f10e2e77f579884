"""Puts the reaper together; reads as its start order."""

import asyncio
import logging
from collections.abc import Mapping

from fleetkit.clock import SystemClock
from fleetkit.errors import Unauthenticated
from fleetkit.lifecycle import background, every
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import serving
from reaper.adapters.nats_deadlines import NatsDeadlines
from reaper.adapters.session_client import GrpcSessionGateway
from reaper.due_sessions import DueSessions
from reaper.settings import Settings
from reaper.sweeper import Sweeper, SweepLimits

log = logging.getLogger(__name__)


class NobodyCalls:
    """The reaper serves its health and nothing else."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        raise Unauthenticated(f"The reaper does not serve {method}.")


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Reap until `stop`, whatever session-api and NATS do: either of the two ways works without the other."""
    async with channel(settings.session_api_address) as to_session_api:
        sessions = GrpcSessionGateway(to_session_api, service_key=settings.service_key)
        sweeper = Sweeper(sessions=sessions, clock=SystemClock(), limits=SweepLimits())
        deadlines = NatsDeadlines(url=settings.nats_url, token=settings.nats_token, handle=DueSessions(sessions).handle)
        async with (
            background(deadlines.run(), every(settings.sweep_interval, sweeper.sweep, jitter=0.1)),
            serving(settings.grpc_listen, [], authenticator=NobodyCalls()) as server,
        ):
            log.info("reaper serves its health on port %d", server.port)
            await stop.wait()
