"""The bus as a reader sees it, and the relay that fills it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM, EVENTS_STREAM, ensure_streams
from fleetkit.settings import Secret
from local_stack.servers.nats import RunningNats
from session_api.adapters.nats_relay import OutboxRelay
from session_api.adapters.postgres.outbox import Message, OutboxReader
from session_api.domain.identifiers import SessionId
from tests.integration.session_api.fleet import RealFleet, Replica
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Bus:
    """A reader of the bus."""

    client: Client

    async def messages(self, stream: str, subject: str, *, number: int, timeout: float = 20) -> list[Msg]:
        """Return the first messages on a subject, from the beginning of the stream."""
        subscription = await self.client.jetstream().subscribe(subject, stream=stream, ordered_consumer=True)
        try:
            async with asyncio.timeout(timeout):
                return [await subscription.next_msg(timeout=timeout) for _ in range(number)]
        finally:
            await subscription.unsubscribe()

    async def events(self, session_id: SessionId, *, number: int) -> list[session_event_pb2.SessionEvent]:
        found = await self.messages(EVENTS_STREAM, f"fleet.v1.session.{session_id}.>", number=number)
        return [session_event_pb2.SessionEvent.FromString(message.data) for message in found]

    async def due(self, session_id: SessionId) -> session_event_pb2.DeadlineDue:
        (message,) = await self.messages(DEADLINES_STREAM, f"due.session.{session_id}", number=1)
        return session_event_pb2.DeadlineDue.FromString(message.data)

    async def number_of(self, stream: str, subject: str) -> int:
        found = await self.client.jetstream().stream_info(stream, subjects_filter=subject)
        return sum((found.state.subjects or {}).values())


class DyingReader(OutboxReader):
    """An outbox whose reader dies after it has delivered, before it forgets: `deaths` times."""

    deaths = 0

    async def relay(self, deliver: Callable[[list[Message]], Awaitable[None]], *, limit: int = 200) -> int:
        async def deliver_and_die(messages: list[Message]) -> None:
            await deliver(messages)
            if self.deaths:
                self.deaths -= 1
                raise ConnectionError("The process died.")

        return await super().relay(deliver_and_die, limit=limit)


def a_relay(replica: Replica, server: RunningNats, *, outbox: OutboxReader | None = None) -> OutboxRelay:
    return OutboxRelay(
        outbox=outbox or OutboxReader(replica.pool),
        nats_url=server.url,
        nats_token=Secret(server.token),
        wake=replica.relay_bell,
        interval=timedelta(milliseconds=200),
    )


async def drained(fleet: RealFleet) -> None:
    """Return when the outbox is empty."""

    async def check() -> bool:
        return await fleet.waiting_rows() == 0

    await eventually(check, within=30, what="the outbox is empty")


@contextlib.asynccontextmanager
async def listening(server: RunningNats) -> AsyncIterator[Bus]:
    client = await nats.connect(server.url, token=server.token, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    await ensure_streams(client.jetstream())
    try:
        yield Bus(client)
    finally:
        await client.close()
