"""NATS goes, comes back, or forgets everything: sessions do not notice, and whoever listens hears of them later."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fleetkit.bus import DEADLINES_STREAM, EVENTS_STREAM
from fleetkit.lifecycle import background
from local_stack.servers.nats import RunningNats, running_nats
from session_api.domain.session import Session, SessionState
from tests.integration.session_api.bus import a_relay, drained, listening
from tests.integration.session_api.fleet import RealFleet, a_request

_SECOND = timedelta(seconds=1)
_WHOLE_LIFE = ["created", "started", "extended", "closing", "closed"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningNats]:
    """A NATS of the test's own, which it may end."""
    async with running_nats(tmp_path) as server:
        yield server


@contextlib.asynccontextmanager
async def _away(server: RunningNats) -> AsyncIterator[None]:
    server.process.kill()
    await server.process.stop()
    yield
    await server.process.start()


async def _life(fleet: RealFleet, number: int) -> Session:
    session = await fleet.create(at=number)
    await fleet.plane(number + 1).sessions.extend(fleet.caller, session.id, by=timedelta(minutes=1))
    return await fleet.close(session, at=number + 2)


async def test_sessions_do_not_notice_that_nats_is_away_and_their_news_come_in_order_when_it_is_back(
    three_replicas: RealFleet, server: RunningNats
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=60)
    async with background(*(a_relay(replica, server).run() for replica in fleet.replicas)):
        await drained(fleet)
        async with _away(server):
            lived = await asyncio.gather(*(_life(fleet, number) for number in range(60)))
            assert {session.state for session in lived} == {SessionState.CLOSED}
            # More than a relay takes on in one go.
            assert await fleet.waiting_rows() > 400
        returned = time.monotonic()
        await drained(fleet)
        assert time.monotonic() - returned < 20
        async with listening(server) as bus:
            for session in lived:
                events = await bus.events(session.id, number=5)
                assert [event.type for event in events] == _WHOLE_LIFE
                assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
            assert await bus.number_of(EVENTS_STREAM, "fleet.v1.session.*.>") == 5 * len(lived)
            assert await bus.number_of(DEADLINES_STREAM, "*.session.>") == 0


async def test_a_server_that_is_killed_amid_the_news_loses_none_and_doubles_none(
    three_replicas: RealFleet, server: RunningNats
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=60)
    lived: list[Session] = []
    async with background(*(a_relay(replica, server).run() for replica in fleet.replicas)):
        for kill in range(3):
            lives = [asyncio.create_task(_life(fleet, number)) for number in range(15)]
            await asyncio.sleep(0.05 * kill)
            server.process.kill()
            lived += await asyncio.gather(*lives)
            await server.process.wait_ready()
        await drained(fleet)
        async with listening(server) as bus:
            for session in lived:
                events = await bus.events(session.id, number=5)
                assert [event.type for event in events] == _WHOLE_LIFE
            assert await bus.number_of(EVENTS_STREAM, "fleet.v1.session.*.>") == 5 * len(lived)


async def test_a_deadline_that_passes_while_nats_is_away_is_announced_when_it_is_back(
    fleet: RealFleet, server: RunningNats
) -> None:
    await fleet.with_node()
    async with background(a_relay(fleet.replicas[0], server).run()):
        async with _away(server):
            session = await fleet.create(a_request(timeout=timedelta(milliseconds=1)))
        async with listening(server) as bus:
            assert (await bus.due(session.id)).session_id == session.id


async def test_a_deadline_survives_a_killed_server(fleet: RealFleet, server: RunningNats) -> None:
    await fleet.with_node()
    async with background(a_relay(fleet.replicas[0], server).run()):
        session = await fleet.create(a_request(timeout=3 * _SECOND))
        await drained(fleet)
        server.process.kill()
        await server.process.wait_ready()
        async with listening(server) as bus:
            assert (await bus.due(session.id)).session_id == session.id


async def test_streams_that_are_gone_are_made_again(fleet: RealFleet, server: RunningNats) -> None:
    await fleet.with_node()
    async with background(a_relay(fleet.replicas[0], server).run()), listening(server) as bus:
        for stream in (EVENTS_STREAM, DEADLINES_STREAM):
            await bus.client.jetstream().delete_stream(stream)
        session = await fleet.create()
        await drained(fleet)
        assert len(await bus.events(session.id, number=2)) == 2
        assert await bus.number_of(DEADLINES_STREAM, f"schedule.session.{session.id}") == 1
