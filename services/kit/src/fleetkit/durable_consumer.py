"""A durable pull consumer on JetStream, which any number of replicas share."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Never

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from opentelemetry import trace

from fleetkit.bus import connect_bus, ensure_streams
from fleetkit.consumer_figures import ConsumerFigures
from fleetkit.dead_letters import DeadLetters
from fleetkit.lifecycle import OwnedTasks
from fleetkit.settings import Secret
from fleetkit.telemetry import context_of
from fleetkit.verdicts import Outcome, Verdict, tried_again

log = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

_FETCH_SECONDS = 2.0
# Messages handled at once; further ones wait on the server.
_AT_ONCE = 16
_RESTART_INTERVAL = timedelta(seconds=1)

Subscription = JetStreamContext.PullSubscription
Fault = (nats.errors.Error, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerPlan:
    """Which messages, under which durable name; `about` names them in traces.

    A message that is being handled is kept from coming again, however long it takes; one whose consumer died comes
    again after `ack_wait`. After `max_deliver` deliveries the server gives a message up by itself, without a dead
    letter; None: it never does, and the handler decides alone.
    """

    name: str
    stream: str
    subject: str
    about: str
    max_deliver: int | None = None
    ack_wait: timedelta = timedelta(seconds=30)
    watchdog_interval: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message, and the how-manieth time it comes."""

    subject: str
    payload: bytes
    deliveries: int


Handler = Callable[[Delivery], Awaitable[Verdict]]


class Stalled(Exception):
    """Messages wait on the server, and the subscription does not bring them."""


class DurableConsumer:
    """Hands each message to `handle`, at least once, in no certain order. What NATS does never ends it.

    A message is acknowledged when `handle` has returned. One that is given up is kept as a dead letter and holds up
    nothing; a handler that raises has the message tried again, and given up in the end.
    """

    def __init__(self, plan: ConsumerPlan, *, url: str, token: Secret | None, handle: Handler) -> None:
        self._plan = plan
        self._url = url
        self._token = token
        self._handle = handle
        self._figures = ConsumerFigures(plan.name)

    async def run(self) -> Never:
        """Consume for ever; also when NATS is not there yet. Cancelled, it lets running work finish first."""
        while True:
            try:
                async with connect_bus(self._url, self._token, name=self._plan.name) as client:
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
            self._plan.subject, durable=self._plan.name, stream=self._plan.stream, config=_config(self._plan)
        )
        log.info("consuming %s", self._plan.subject)
        dead_letters = DeadLetters(stream, consumer=self._plan.name)
        room = asyncio.Semaphore(_AT_ONCE)
        async with _left(subscription), OwnedTasks() as work:
            while True:
                # Before the fetch: a message that waited here for room would come to somebody else meanwhile.
                await room.acquire()
                message = await self._next(subscription)
                work.start(self._process(message, dead_letters)).add_done_callback(lambda _: room.release())

    async def _next(self, subscription: Subscription) -> Msg:
        progressed = time.monotonic()
        while True:
            try:
                # One at a time: a larger batch holds its first message back until it is full.
                (message,) = await subscription.fetch(1, timeout=_FETCH_SECONDS)
            except TimeoutError:
                if time.monotonic() - progressed >= self._plan.watchdog_interval.total_seconds():
                    await self._check_progress(subscription)
                    progressed = time.monotonic()
            else:
                self._figures.delivered(lag=message.metadata.num_pending)
                return message

    async def _check_progress(self, subscription: Subscription) -> None:
        """Raise Stalled when messages wait; an error of NATS when the consumer is gone."""
        info = await subscription.consumer_info()
        waiting, most_unsettled = info.num_pending or 0, info.config.max_ack_pending or 0
        self._figures.idle(lag=waiting)
        # With too many that are to be tried again the server holds the rest back, and is right.
        if waiting and (info.num_ack_pending or 0) < most_unsettled:
            raise Stalled(f"{waiting} messages wait on the server")

    async def _process(self, message: Msg, dead_letters: DeadLetters) -> None:
        with tracer.start_as_current_span(
            f"process {self._plan.about}",
            context=context_of(message.headers or {}),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.destination.name": self._plan.about,
                "messaging.operation.type": "process",
            },
        ):
            async with _kept_in_progress(message, self._plan.ack_wait):
                verdict = await self._verdict(message)
            # An answer that gets lost costs one more delivery.
            with contextlib.suppress(*Fault):
                await self._settle(message, verdict, dead_letters)

    async def _verdict(self, message: Msg) -> Verdict:
        deliveries = message.metadata.num_delivered
        try:
            return await self._handle(Delivery(subject=message.subject, payload=message.data, deliveries=deliveries))
        except Exception as error:
            log.exception("a message on %s could not be handled", message.subject)
            return tried_again(f"the consumer failed: {type(error).__name__}", deliveries=deliveries)

    async def _settle(self, message: Msg, verdict: Verdict, dead_letters: DeadLetters) -> None:
        if verdict.outcome is Outcome.GIVEN_UP:
            verdict = await _given_up(message, verdict, dead_letters)
        match verdict.outcome:
            case Outcome.DONE:
                await message.ack()
            case Outcome.IGNORED:
                self._figures.ignored()
                await message.ack()
            case Outcome.RETRY:
                await message.nak(delay=verdict.delay.total_seconds())
            case Outcome.GIVEN_UP:
                self._figures.dead()
                await message.term()


def _config(plan: ConsumerPlan) -> ConsumerConfig:
    return ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT, ack_wait=plan.ack_wait.total_seconds(), max_deliver=plan.max_deliver or -1
    )


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


@contextlib.asynccontextmanager
async def _kept_in_progress(message: Msg, ack_wait: timedelta) -> AsyncIterator[None]:
    """Keep the server from delivering the message again while the block runs."""

    async def tell() -> Never:
        while True:
            await asyncio.sleep(ack_wait.total_seconds() / 3)
            with contextlib.suppress(*Fault):
                await message.in_progress()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def _left(subscription: Subscription) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(*Fault):
            await subscription.unsubscribe()
