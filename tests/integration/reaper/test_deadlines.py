"""Messages that something is due, from a real nats-server to session-api."""

from datetime import timedelta

from nats.aio.client import Client

from fleetkit.bus import DEADLINES_STREAM
from fleetkit.errors import Unavailable
from local_stack.servers.nats import RunningNats
from tests.integration.reaper.fleet import Fleet, all_settled, another, consuming, due, reaping, schedule
from tests.integration.reaper.session_api import now
from tests.support.reaper_sessions import session_id

# Field 127, which no schema has yet.
_FIELD_OF_THE_FUTURE = b"\xfa\x07\x03abc"


async def test_a_session_is_reaped_soon_after_its_deadline(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=1)
        await schedule(bus, name, fleet.api.due_times[name])
        await fleet.api.has_reaped(1)
    assert timedelta(0) <= fleet.api.lateness(name) < timedelta(seconds=3)


async def test_what_fell_due_before_the_reaper_started_is_reaped_at_its_start(fleet: Fleet, bus: Client) -> None:
    name = fleet.api.add(1, in_seconds=-5)
    await schedule(bus, name, now())
    async with reaping(fleet.settings):
        await fleet.api.has_reaped(1)


async def test_the_process_span_continues_the_trace_that_scheduled_the_deadline(fleet: Fleet, bus: Client) -> None:
    trace_id = 0x0AF7651916CD43DD8448EB211C80319C
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=0.5)
        parent = f"00-{trace_id:032x}-b7ad6b7169203331-01"
        await schedule(bus, name, fleet.api.due_times[name], traceparent=parent)
        await fleet.api.has_reaped(1)
    assert set(fleet.api.trace_ids) == {trace_id}


async def test_a_message_of_a_newer_schema_is_acted_on(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=0)
        await bus.jetstream().publish(f"due.session.{name}", due(name, now()) + _FIELD_OF_THE_FUTURE)
        await fleet.api.has_reaped(1)


async def test_a_message_that_comes_many_times_does_no_harm(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=0)
        for _ in range(20):
            await bus.jetstream().publish(f"due.session.{name}", due(name, now()))
        await fleet.api.was_called(1, times=20)
        await all_settled(bus)
    assert fleet.api.calls == [name] * 20


async def test_a_message_for_an_unknown_session_comes_once(fleet: Fleet, bus: Client) -> None:
    async with reaping(fleet.settings):
        await schedule(bus, session_id(7), now())
        known = fleet.api.add(1, in_seconds=0.5)
        await schedule(bus, known, fleet.api.due_times[known])
        await fleet.api.has_reaped(1)
    assert fleet.api.calls.count(session_id(7)) == 1


async def test_a_message_for_which_nothing_is_due_yet_comes_once(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=2)
        await schedule(bus, name, now())
        await fleet.api.was_called(1)
        assert name not in fleet.api.reaped
        await schedule(bus, name, fleet.api.due_times[name])
        await fleet.api.has_reaped(1)
    assert fleet.api.calls == [name, name]


async def test_while_session_api_fails_the_message_comes_again(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        name = fleet.api.add(1, in_seconds=0)
        fleet.api.failing["ReapSession"] = Unavailable("down for a moment")
        await schedule(bus, name, now())
        await fleet.api.was_called(1, times=2)
        fleet.api.failing.clear()
        await fleet.api.has_reaped(1)


async def test_a_killed_nats_server_is_found_again_and_what_fell_due_meanwhile_is_reaped(
    fleet: Fleet, nats: RunningNats, bus: Client
) -> None:
    async with consuming(fleet, bus):
        first, second = fleet.api.add(1, in_seconds=0.2), fleet.api.add(2, in_seconds=1.5)
        for name in (first, second):
            await schedule(bus, name, fleet.api.due_times[name])
        await fleet.api.has_reaped(1)
        nats.process.kill()
        await nats.process.wait_ready()
        await fleet.api.has_reaped(2, within=30)


async def test_a_consumer_that_was_deleted_is_made_again(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus):
        first = fleet.api.add(1, in_seconds=0)
        await schedule(bus, first, now())
        await fleet.api.has_reaped(1)
        await bus.jetstream().delete_consumer(DEADLINES_STREAM, "reaper")
        second = fleet.api.add(2, in_seconds=0.5)
        await schedule(bus, second, fleet.api.due_times[second])
        await fleet.api.has_reaped(2, within=40)


async def test_two_reapers_share_the_messages(fleet: Fleet, bus: Client) -> None:
    async with consuming(fleet, bus), reaping(await another(fleet.settings)):
        names = [fleet.api.add(number, in_seconds=1) for number in range(1, 11)]
        for name in names:
            await schedule(bus, name, fleet.api.due_times[name])
        await fleet.api.has_reaped(*range(1, 11))
        await all_settled(bus)
    assert sorted(fleet.api.calls) == names
