"""Events from a real nats-server to real Postgres: each is applied once, and nothing waits for the bus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from artifact_store import bootstrap
from artifact_store.adapters.nats_session_events import PLAN
from fleetkit.bus import connect_bus, ensure_streams
from fleetkit.settings import Secret
from local_stack.ports import PortBook
from local_stack.probes import grpc_serving
from local_stack.servers.nats import NatsServer, RunningNats
from local_stack.servers.postgres import RunningPostgres
from local_stack.servers.running import kept_running
from tests.integration.artifact_store.bus import Bus, Tables, refusing
from tests.integration.artifact_store.service import Artifact, Setup, another, running
from tests.support.artifact_ends import an_event
from tests.support.waiting import eventually

# Field 127, which no schema has yet.
_FIELD_OF_THE_FUTURE = b"\xfa\x07\x03abc"


def _session(number: int) -> str:
    return f"pbs_{number:0>26}"


@dataclass(frozen=True, slots=True)
class Listener:
    """A service that is to listen to a server of the test's own, which `started` runs within its block."""

    setup: Setup
    server: NatsServer
    tables: Tables

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[tuple[RunningNats, Bus]]:
        async with (
            kept_running(self.server, logs=self.server.folder / "logs") as process,
            connect_bus(self.server.url, Secret(self.server.token), name="test") as client,
        ):
            await ensure_streams(client.jetstream())
            yield RunningNats(server=self.server, process=process), Bus(client)


@pytest.fixture
async def listener(setup: Setup, empty_database: str, tmp_path: Path) -> Listener:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    server = await asyncio.to_thread(lambda: NatsServer.at(tmp_path / "nats", ports=PortBook()))
    settings = replace(setup.settings, nats_url=server.url, nats_token=Secret(server.token))
    return Listener(replace(setup, settings=settings), server, Tables(empty_database))


async def test_events_that_come_many_times_in_any_order_to_two_replicas_are_applied_once(listener: Listener) -> None:
    names = [_session(number) for number in range(1, 6)]
    latest = [an_event(number=3, session_id=name, sequence=7) for name in names]
    earlier = [
        an_event("failed", number=number, session_id=name, sequence=4 + number) for number in (1, 2) for name in names
    ]
    async with listener.started() as (_, bus), running(listener.setup), running(await another(listener.setup)):
        deliveries = [*latest, *earlier, *latest, *earlier * 2, *(latest + earlier) * 3]
        await bus.publish(*deliveries)
        await bus.settled(messages=len(deliveries))
        assert await listener.tables.inbox() == {event.id for event in latest + earlier}
        assert {name: sequence for name, (sequence, _) in (await listener.tables.ends()).items()} == dict.fromkeys(
            names, 7
        )


async def test_a_killed_nats_server_brings_everything_again_and_nothing_changes(listener: Listener) -> None:
    async with listener.started() as (nats, bus), running(listener.setup):
        await bus.publish(*(an_event(session_id=_session(number)) for number in range(100)))
        await listener.tables.has_ends(100)
        await bus.settled(messages=100)
        inbox, ends = await listener.tables.inbox(), await listener.tables.ends()

        nats.process.kill()
        await nats.process.wait_ready()
        # The server has forgotten most acknowledgements then; without its consumer it has forgotten all of them.
        await bus.client.jetstream().delete_consumer(PLAN.stream, PLAN.name)
        await bus.publish(an_event(session_id=_session(100)))
        await bus.settled(messages=101)

        assert len(await listener.tables.inbox()) == len(inbox) + 1
        after = await listener.tables.ends()
        # The transactions that wrote them too: not one row was written again.
        assert {name: after[name] for name in ends} == ends


async def test_poison_and_newer_schemas_do_not_block_what_follows(listener: Listener) -> None:
    async with listener.started() as (_, bus), running(listener.setup):
        stream = bus.client.jetstream()
        subject = f"fleet.v1.session.{_session(1)}.closed"
        poison = [b"\xff\xff\xff", b"", an_event(session_id="pbs_\0").SerializeToString()]
        for payload in poison:
            await stream.publish(subject, payload)
        await bus.publish(an_event("of_the_future", session_id=_session(2)), more=_FIELD_OF_THE_FUTURE)
        await bus.publish(an_event(session_id=_session(3)), more=_FIELD_OF_THE_FUTURE)
        await listener.tables.has_ends(1)
        letters = await bus.letters(number=3)
        await bus.settled(messages=5)
        assert list(await listener.tables.ends()) == [_session(3)]
    assert {letter.subject for letter in letters} == {f"dead.v1.artifact-store.{subject}"}
    assert sorted(letter.data or b"" for letter in letters) == sorted(poison)
    assert all((letter.headers or {})["Fleet-Dead-Reason"] for letter in letters)


async def test_events_that_come_while_postgres_is_away_are_applied_when_it_is_back(
    listener: Listener, postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with listener.started() as (_, bus), running(listener.setup):
        await bus.publish(an_event(session_id=_session(1)))
        await listener.tables.has_ends(1)
        async with refusing(postgres.dsn, listener.tables.dsn):
            await bus.publish(an_event(session_id=_session(2)))

            async def comes_again() -> bool:
                info = await bus.consumer()
                return bool(info and info.num_redelivered)

            await eventually(comes_again, within=20, what="the event comes again")
        await listener.tables.has_ends(2)
        await bus.settled(messages=2)


async def test_without_the_bus_everything_is_served_and_what_was_missed_is_caught_up(listener: Listener) -> None:
    async with running(listener.setup) as service:
        await service.download(1)
        assert (await service.get(1)).artifact.state == Artifact.STATE_STORED
        assert await grpc_serving(listener.setup.address)
        async with listener.started() as (_, bus):
            await bus.publish(an_event(session_id=_session(1)))
            await listener.tables.has_ends(1)
        await service.download(2)
        assert await grpc_serving(listener.setup.address)
        async with listener.started() as (_, bus):
            await bus.publish(an_event(session_id=_session(2)))
            await listener.tables.has_ends(2, within=40)
            assert [artifact.state for artifact in await service.listed()] == [Artifact.STATE_STORED] * 2
