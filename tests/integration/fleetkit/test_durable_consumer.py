"""What every durable consumer can rely on, on a real nats-server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerInfo
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fleetkit.bus import DEAD_LETTERS_STREAM, EVENTS_STREAM, connect_bus, ensure_streams
from fleetkit.durable_consumer import ConsumerPlan, Delivery, DurableConsumer
from fleetkit.lifecycle import background
from fleetkit.settings import Secret
from fleetkit.verdicts import MAX_DELIVERIES, Outcome, Verdict
from local_stack.servers.nats import RunningNats
from tests.support.metrics import metric_value
from tests.support.waiting import eventually, until

DONE = Verdict(outcome=Outcome.DONE, reason="done")
_numbers = itertools.count(1)


@dataclass
class Reader:
    """Notes what it is given; `answers` says what it makes of a payload, and all else is DONE."""

    plan: ConsumerPlan
    answers: dict[bytes, Verdict | Exception] = field(default_factory=dict)
    slow: timedelta = timedelta(0)
    begun: list[Delivery] = field(default_factory=list)
    ended: list[Delivery] = field(default_factory=list)

    async def handle(self, delivery: Delivery) -> Verdict:
        self.begun.append(delivery)
        await asyncio.sleep(self.slow.total_seconds())
        self.ended.append(delivery)
        answer = self.answers.get(delivery.payload, DONE)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def bus(nats_server: RunningNats) -> AsyncIterator[Client]:
    async with connect_bus(nats_server.url, Secret(nats_server.token), name="test") as client:
        await ensure_streams(client.jetstream())
        yield client


@pytest.fixture
def reader() -> Reader:
    name = f"test-{next(_numbers)}"
    plan = ConsumerPlan(
        name=name, stream=EVENTS_STREAM, subject=f"fleet.v1.{name}.>", about=name, ack_wait=timedelta(seconds=1)
    )
    return Reader(plan)


def _consumer(nats: RunningNats, reader: Reader) -> DurableConsumer:
    return DurableConsumer(reader.plan, url=nats.url, token=Secret(nats.token), handle=reader.handle)


async def _publish(bus: Client, reader: Reader, *payloads: bytes) -> None:
    for payload in payloads:
        await bus.jetstream().publish(f"fleet.v1.{reader.plan.name}.x", payload)


async def _settled(bus: Client, reader: Reader) -> ConsumerInfo:
    async def check() -> ConsumerInfo | None:
        info: ConsumerInfo = await bus.jetstream().consumer_info(EVENTS_STREAM, reader.plan.name)
        return None if info.num_pending or info.num_ack_pending else info

    return await eventually(check, within=20, what="every message is settled")


async def test_work_that_takes_longer_than_the_wait_for_its_answer_is_done_once(
    nats_server: RunningNats, bus: Client, reader: Reader
) -> None:
    reader.slow = 3 * reader.plan.ack_wait
    await _publish(bus, reader, b"slow")
    async with background(_consumer(nats_server, reader).run()):
        await until(lambda: reader.ended)
        await _settled(bus, reader)
    assert len(reader.begun) == 1


async def test_work_that_goes_on_at_a_stop_is_finished_and_answered(
    nats_server: RunningNats, bus: Client, reader: Reader
) -> None:
    reader.slow = timedelta(seconds=1)
    await _publish(bus, reader, b"slow")
    async with background(_consumer(nats_server, reader).run()):
        await until(lambda: reader.begun)
    assert len(reader.ended) == 1
    info = await _settled(bus, reader)
    assert info.num_redelivered == 0


async def test_a_handler_that_raises_at_every_delivery_blocks_nobody_and_ends_in_a_dead_letter(
    nats_server: RunningNats, bus: Client, reader: Reader
) -> None:
    reader.answers[b"poison"] = ZeroDivisionError()
    subscription = await bus.jetstream().pull_subscribe(
        reader.plan.subject, durable=reader.plan.name, stream=EVENTS_STREAM
    )
    await _publish(bus, reader, b"poison")
    # Else it takes minutes: the pauses grow.
    for _ in range(MAX_DELIVERIES - 1):
        (message,) = await subscription.fetch(1, timeout=5)
        await message.nak()
    await subscription.unsubscribe()
    async with background(_consumer(nats_server, reader).run()):
        await until(lambda: reader.begun)
        assert reader.begun[0].deliveries == MAX_DELIVERIES
        await _settled(bus, reader)
        await _publish(bus, reader, b"poison", b"next")
        await until(lambda: [delivery.payload for delivery in reader.ended][-1] == b"next")
    letter = await bus.jetstream().get_last_msg(DEAD_LETTERS_STREAM, f"dead.v1.{reader.plan.name}.>")
    assert letter.data == b"poison"
    assert (letter.headers or {})["Fleet-Dead-Reason"] == "the consumer failed: ZeroDivisionError"


async def test_a_subscription_that_brings_nothing_while_messages_wait_is_made_anew(
    nats_server: RunningNats, bus: Client, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    stream = bus.jetstream()
    reader.plan = replace(reader.plan, watchdog_interval=timedelta(seconds=1))
    async with background(_consumer(nats_server, reader).run()):
        await _publish(bus, reader, b"first")
        await until(lambda: reader.ended)
        await stream.pause_consumer(EVENTS_STREAM, reader.plan.name, "2999-01-01T00:00:00Z")
        await _publish(bus, reader, b"second")
        await until(lambda: "made anew: 1 messages wait on the server" in caplog.text, within=20)
        await stream.resume_consumer(EVENTS_STREAM, reader.plan.name)
        await until(lambda: len(reader.ended) == 2)


async def test_what_is_delivered_and_ignored_is_counted_and_what_waits_is_measured(
    metric_reader: InMemoryMetricReader, nats_server: RunningNats, bus: Client, reader: Reader
) -> None:
    def figure(name: str) -> float | None:
        return metric_value(metric_reader, name, consumer=reader.plan.name)

    reader.answers[b"of no use"] = Verdict(outcome=Outcome.IGNORED, reason="of no use")
    reader.slow = timedelta(seconds=1)
    await _publish(bus, reader, *[b"of no use"] * 3, *[b"x"] * 27)
    async with background(_consumer(nats_server, reader).run()):
        # Sixteen are handled at once, and the rest waits on the server.
        await until(lambda: len(reader.begun) == 16)
        assert figure("fleet.events.delivered") == 16
        assert figure("fleet.events.lag") == 14
        await until(lambda: len(reader.ended) == 30)
        await _settled(bus, reader)
        assert figure("fleet.events.delivered") == 30
        assert figure("fleet.events.ignored") == 3
        assert figure("fleet.events.lag") == 0
        assert figure("fleet.events.dead") is None
