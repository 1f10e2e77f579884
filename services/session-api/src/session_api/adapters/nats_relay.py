"""Relays the outbox to JetStream: at least once, each session's events in order."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Never

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from fleetkit.bus import DEADLINES_STREAM, connect_bus, ensure_streams
from fleetkit.settings import Secret
from session_api.adapters.postgres.outbox import Message, OutboxReader

log = logging.getLogger(__name__)

_PUBLISH_TIMEOUT_SECONDS = 5.0


class OutboxRelay:
    """Wakes at `wake`, or else at each interval: another replica may have written rows."""

    def __init__(
        self,
        *,
        outbox: OutboxReader,
        nats_url: str,
        nats_token: Secret | None,
        wake: asyncio.Event,
        interval: timedelta = timedelta(seconds=1),
    ) -> None:
        self._outbox = outbox
        self._url = nats_url
        self._token = nats_token
        self._wake = wake
        self._interval = interval

    async def run(self) -> Never:
        """Relay for ever. While NATS or Postgres is away rows wait; nothing is lost and nobody is held up."""
        while True:
            try:
                async with connect_bus(self._url, self._token, name="session-api") as client:
                    await self._relay(client)
            except Exception as error:
                # Deliveries that fail at once fail for one reason.
                cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                log.warning("the outbox waits: %s: %s", type(cause).__name__, cause)
            await asyncio.sleep(self._interval.total_seconds())

    async def _relay(self, client: Client) -> Never:
        stream = client.jetstream(timeout=_PUBLISH_TIMEOUT_SECONDS)
        await ensure_streams(stream)

        async def deliver(messages: list[Message]) -> None:
            # They leave in this order on one connection, which is the order in which the server stores them; only the
            # waiting for its answers overlaps. A purge comes after every publish that it may concern.
            await _all(_publish(stream, message) for message in messages if not message.purge)
            await _all(_purge(stream, message) for message in messages if message.purge)

        while True:
            self._wake.clear()
            # While NATS is away a publish would sit in the client's buffer: rows are the better buffer.
            if not client.is_connected:
                raise nats.errors.ConnectionClosedError
            if await self._outbox.relay(deliver) == 0:
                # Not wait_for: before Python 3.12 it forgets a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval.total_seconds()):
                        await self._wake.wait()


async def _publish(stream: JetStreamContext, message: Message) -> None:
    headers = {**message.headers, "Nats-Msg-Id": message.message_id}
    await stream.publish(message.subject, message.payload, headers=headers)


async def _purge(stream: JetStreamContext, message: Message) -> None:
    await stream.purge_stream(DEADLINES_STREAM, subject=message.subject)


async def _all(deliveries: Iterable[Coroutine[object, object, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for delivery in deliveries:
            _ = group.create_task(delivery)
