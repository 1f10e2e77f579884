"""The durable consumer of due deadlines on JetStream, which any number of reapers share."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Never, Protocol

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from opentelemetry import metrics, trace

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM, connect_bus, ensure_streams
from fleetkit.lifecycle import OwnedTasks
from fleetkit.settings import Secret
from fleetkit.telemetry import context_of
from reaper.adapters.dead_letters import DeadLetters
from reaper.policy import MAX_DELIVERIES, Outcome, SessionId, Verdict, parse_session_id, tried_again

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
    def __call__(self, session_id: SessionId, *, deliveries: int) -> Awaitable[Verdict]: ...


class Stalled(Exception):
    """Messages wait on the server, and the subscription does not bring them."""


class NatsDeadlines:
    """Hands each session with something due to `handle`, at least once. What NATS does never ends it: it begins anew.

    A message that is garbage or given up is kept as a dead letter and holds up nothing.
    """

    def __init__(
        self, *, url: str, token: Secret | None, handle: Handler, watchdog_interval: timedelta = _WATCHDOG_INTERVAL
    ) -> None:
        self._url = url
        self._token = token
        self._handle = handle
        self._watchdog_interval = watchdog_interval
        self._dead = metrics.get_meter(__name__).create_counter(
            "fleet.events.dead", unit="{message}", description="Messages that a consumer gave up."
        )

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
        dead_letters = DeadLetters(stream, consumer=CONSUMER)
        room = asyncio.Semaphore(_AT_ONCE)
        async with _left(subscription), OwnedTasks() as work:
            async for message in self._messages(subscription):
                await room.acquire()
                work.start(self._process(message, dead_letters)).add_done_callback(lambda _: room.release())
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

    async def _process(self, message: Msg, dead_letters: DeadLetters) -> None:
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
            session_id = _parse(message.data)
            if session_id is None:
                verdict = Verdict(outcome=Outcome.GIVEN_UP, reason="it is not a DeadlineDue with a session's ID")
            else:
                verdict = await self._handle(session_id, deliveries=message.metadata.num_delivered)
            # An answer that gets lost costs one more delivery.
            with contextlib.suppress(*Fault):
                await self._settle(message, verdict, dead_letters)

    async def _settle(self, message: Msg, verdict: Verdict, dead_letters: DeadLetters) -> None:
        if verdict.outcome is Outcome.GIVEN_UP:
            verdict = await _given_up(message, verdict, dead_letters)
        match verdict.outcome:
            case Outcome.DONE:
                await message.ack()
            case Outcome.RETRY:
                await message.nak(delay=verdict.delay.total_seconds())
            case Outcome.GIVEN_UP:
                self._dead.add(1, {"messaging.consumer.group.name": CONSUMER})
                await message.term()


async def _given_up(message: Msg, verdict: Verdict, dead_letters: DeadLetters) -> Verdict:
    """Keep a message that is given up; return the verdict that holds then: RETRY when it could not be kept yet."""
    try:
        await dead_letters.keep(message, reason=verdict.reason)
    except Fault as error:
        verdict = tried_again(f"no dead letter: {error}", deliveries=message.metadata.num_delivered)
        if verdict.outcome is Outcome.GIVEN_UP:
            log.error("a message on %s is lost: %s", message.subject, verdict.reason)
        return verdict
    log.warning("a message on %s is a dead letter now: %s", message.subject, verdict.reason)
    return verdict


async def _check_progress(subscription: Subscription) -> None:
    """Raise Stalled when messages wait; an error of NATS when the consumer is gone."""
    info = await subscription.consumer_info()
    if info.num_pending:
        raise Stalled(f"{info.num_pending} messages wait on the server")


def _parse(payload: bytes) -> SessionId | None:
    """Return whom the message is about: all that is needed, since session-api knows what is due and when."""
    try:
        due = session_event_pb2.DeadlineDue.FromString(payload)
    except DecodeError:
        return None
    return parse_session_id(due.session_id)


@contextlib.asynccontextmanager
async def _left(subscription: Subscription) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(*Fault):
            await subscription.unsubscribe()
