"""The whole reaper beside a session-api in memory and a real nats-server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM, schedule_headers
from fleetkit.rpc.times import timestamp
from local_stack.ports import PortBook
from local_stack.servers.nats import RunningNats
from reaper import bootstrap
from reaper.settings import Settings
from tests.integration.reaper.session_api import KEY, FakeSessionApi
from tests.support.waiting import eventually, until


@dataclass
class Fleet:
    """`settings` sweep once, at the start: after that only messages reap."""

    api: FakeSessionApi
    settings: Settings

    @property
    def sweeping(self) -> Settings:
        """Settings with the default sweep, and without NATS: only the sweep reaps."""
        return replace(self.settings, nats_url="nats://127.0.0.1:1", sweep_interval=timedelta(seconds=2))


def settings_for(session_api: str, nats: RunningNats) -> Settings:
    return Settings.from_env(
        {
            "FLEET_SESSION_API_ADDRESS": session_api,
            "FLEET_SERVICE_KEY": KEY,
            "FLEET_NATS_URL": nats.url,
            "FLEET_NATS_TOKEN": nats.token,
            "FLEET_SWEEP_INTERVAL": "1h",
            "FLEET_GRPC_LISTEN": f"127.0.0.1:{PortBook().free('grpc')}",
        }
    )


async def another(settings: Settings) -> Settings:
    """Return the settings of a second reaper."""
    port = await asyncio.to_thread(lambda: PortBook().free("grpc"))
    return replace(settings, grpc_listen=f"127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def reaping(settings: Settings) -> AsyncIterator[None]:
    """Run a reaper within the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bootstrap.run(settings, stop))
        yield
        stop.set()


@contextlib.asynccontextmanager
async def consuming(fleet: Fleet, bus: Client) -> AsyncIterator[None]:
    """Run a reaper that reaps by messages alone: the sweep at the start is over, and the consumer is there."""

    async def consumer_is_there() -> bool:
        with contextlib.suppress(NotFoundError):
            return bool(await consumer(bus))
        return False

    async with reaping(fleet.settings):
        await until(lambda: fleet.api.lists > 0)
        await eventually(consumer_is_there, within=15, what="the reaper consumes")
        yield


async def consumer(bus: Client) -> ConsumerInfo:
    info: ConsumerInfo = await bus.jetstream().consumer_info(DEADLINES_STREAM, "reaper")
    return info


async def all_settled(bus: Client) -> None:
    """Return when no message waits for the reaper, or for its answer."""

    async def check() -> bool:
        info = await consumer(bus)
        return not info.num_ack_pending and not info.num_pending

    await eventually(check, within=15, what="every message is settled")


async def schedule(bus: Client, name: str, due_time: datetime, **headers: str) -> None:
    """Schedule a session's message as session-api does."""
    await bus.jetstream().publish(
        f"schedule.session.{name}",
        due(name, due_time),
        headers={**schedule_headers(due_time=due_time, target=f"due.session.{name}"), **headers},
    )


def due(name: str, due_time: datetime) -> bytes:
    return session_event_pb2.DeadlineDue(session_id=name, expire_time=timestamp(due_time)).SerializeToString()


async def use_up_deliveries(bus: Client, number: int) -> None:
    """Have the one message on the stream delivered and refused `number` times, before there is a reaper."""
    subscription = await bus.jetstream().pull_subscribe(
        "due.session.>",
        durable="reaper",
        stream=DEADLINES_STREAM,
        config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_deliver=10),
    )
    for _ in range(number):
        (message,) = await subscription.fetch(1, timeout=5)
        await message.nak()
    await subscription.unsubscribe()
