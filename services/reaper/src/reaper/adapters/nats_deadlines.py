"""The durable consumer of due deadlines on JetStream, which any number of reapers share."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, timedelta
from typing import Never, Protocol

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from opentelemetry import trace

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM, connect_bus, ensure_streams
from fleetkit.lifecycle import OwnedTasks
from fleetkit.settings import Secret
from fleetkit.telemetry import context_of
from reaper.policy import MAX_DELIVERIES, Deadline, Outcome, Verdict, parse_session_id

log = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

CONSUMER = "reaper"
SUBJECT = "due.session.>"
_ACK_WAIT_SECONDS = 30.0
_FETCH_SECONDS = 2.0
# Deadlines handled at once; further ones wait on the server.
_AT_ONCE = 16
_RESTART_INTERVAL = timedelta(seconds=1)
_WATCHDOG_INTERVAL = timedelta(seconds=10)

Subscription = JetStreamContext.PullSubscription
Fault = (nats.errors.Error, OSError, TimeoutError)


class Handler(Protocol):
    def __call__(self, deadline: Deadline, *, deliveries: int) -> Awaitable[Verdict]: ...


class Stalled(Exception):
    """Messages wait on the server, and the subscription does not bring them."""


class NatsDeadlines:
    """Hands each due deadline to `handle`, at least once. What NATS does never ends it: it begins anew."""

    def __init__(
        self, *, url: str, token: Secret | None, handle: Handler, watchdog_interval: timedelta = _WATCHDOG_INTERVAL
    ) -> None:
        self._url = url
        self._token = token
        self._handle = handle
        self._watchdog_interval = watchdog_interval

    async def run(self) -> Never:
        """Consume for ever; also when NATS is not there yet."""
        while True:
            try:
                async with connect_bus(self._url, self._token, name="reaper") as client:
                    await self._subscribe_again_and_again(client)
            except Fault as error:
                log.warning("NATS cannot be reached: %s", error)
            await asyncio.sleep(_RESTART_INTERVAL.total_seconds())

    async def _subscribe_again_and_again(self, client: Client) -> None:
        # The client reconnects by itself; only what hangs on it is made anew.
        while not client.is_closed:
            try:
                await self._consume(client)
            except (*Fault, Stalled) as error:
                log.warning("the subscription is made anew: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_RESTART_INTERVAL.total_seconds())

    async def _consume(self, client: Client) -> Never:
        stream = client.jetstream()
        await ensure_streams(stream)
        subscription = await stream.pull_subscribe(
            SUBJECT,
            durable=CONSUMER,
            stream=DEADLINES_STREAM,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_SECONDS, max_deliver=MAX_DELIVERIES
            ),
        )
        log.info("consuming due deadlines")
        room = asyncio.Semaphore(_AT_ONCE)
        async with _left(subscription), OwnedTasks() as work:
            async for message in self._messages(subscription):
                await room.acquire()
                work.start(self._process(message)).add_done_callback(lambda _: room.release())
        raise Stalled("the subscription ended")

    async def _messages(self, subscription: Subscription) -> AsyncIterator[Msg]:
        progressed = time.monotonic()
        while True:
            try:
                # One at a time: a larger batch holds its first message back until it is full.
                (message,) = await subscription.fetch(1, timeout=_FETCH_SECONDS)
            except TimeoutError:
                if time.monotonic() - progressed < self._watchdog_interval.total_seconds():
                    continue
                await _check_progress(subscription)
            else:
                yield message
            progressed = time.monotonic()

    async def _process(self, message: Msg) -> None:
        deadline = _parse(message.data)
        deliveries = message.metadata.num_delivered
        with tracer.start_as_current_span(
            "process due.session",
            context=context_of(message.headers or {}),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.destination.name": "due.session",
                "messaging.operation.type": "process",
            },
        ):
            if deadline is None:
                log.warning("a message on %s is not a deadline", message.subject)
                await _settle(message, Verdict(outcome=Outcome.GIVEN_UP, reason="garbage"))
                return
            await _settle(message, await self._handle(deadline, deliveries=deliveries))


async def _settle(message: Msg, verdict: Verdict) -> None:
    # An answer that gets lost costs one more delivery.
    with contextlib.suppress(*Fault):
        match verdict.outcome:
            case Outcome.DONE:
                await message.ack()
            case Outcome.RETRY:
                await message.nak(delay=verdict.delay.total_seconds())
            case Outcome.GIVEN_UP:
                await message.term()


async def _check_progress(subscription: Subscription) -> None:
    """Raise Stalled when messages wait; an error of NATS when the consumer is gone."""
    info = await subscription.consumer_info()
    if info.num_pending:
        raise Stalled(f"{info.num_pending} messages wait on the server")


def _parse(payload: bytes) -> Deadline | None:
    try:
        due = session_event_pb2.DeadlineDue.FromString(payload)
    except DecodeError:
        return None
    session_id = parse_session_id(due.session_id)
    if session_id is None or not due.HasField("expire_time"):
        return None
    try:
        return Deadline(session_id=session_id, expire_time=due.expire_time.ToDatetime(UTC))
    except (ValueError, OverflowError):
        # An instant that no calendar has.
        return None


@contextlib.asynccontextmanager
async def _left(subscription: Subscription) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(*Fault):
            await subscription.unsubscribe()
