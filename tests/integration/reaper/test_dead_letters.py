"""Messages that nobody can act on: kept for people, and in nobody's way."""

import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import NotFoundError
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fleetkit.bus import DEAD_LETTERS_STREAM, DEADLINES_STREAM
from fleetkit.errors import InvalidArgument, Unavailable
from tests.integration.reaper.fleet import (
    Fleet,
    all_settled,
    consumer,
    consuming,
    due,
    reaping,
    schedule,
    use_up_deliveries,
)
from tests.integration.reaper.session_api import now
from tests.support.metrics import metric_value
from tests.support.reaper_sessions import session_id
from tests.support.waiting import eventually

GARBAGE = "due.session.garbage"


async def _letters(bus: Client, *, number: int, subject: str = f"dead.v1.reaper.{GARBAGE}") -> list[RawStreamMsg]:
    """Return the dead letters, oldest first, once there are `number` of them; all of them are on `subject`."""
    stream = bus.jetstream()

    async def stored() -> bool:
        return bool((await stream.stream_info(DEAD_LETTERS_STREAM)).state.messages >= number)

    await eventually(stored, within=15, what=f"{number} dead letters")
    letters = [await stream.get_msg(DEAD_LETTERS_STREAM, sequence) for sequence in range(1, number + 1)]
    assert {letter.subject for letter in letters} == {subject}
    return letters


async def _reaps_still(fleet: Fleet, bus: Client) -> None:
    name = fleet.api.add(1, in_seconds=0)
    await schedule(bus, name, now())
    await fleet.api.has_reaped(1)


def _headers(letter: RawStreamMsg) -> dict[str, str]:
    return letter.headers or {}


async def test_garbage_becomes_dead_letters_and_does_not_block_what_follows(fleet: Fleet, bus: Client) -> None:
    payloads = [b"", b"\xff\xff\xff", b"\x0a\x03abc"]
    async with consuming(fleet, bus):
        for payload in payloads:
            await bus.jetstream().publish(GARBAGE, payload)
        await _reaps_still(fleet, bus)
        await all_settled(bus)
        letters = await _letters(bus, number=3)
    assert sorted(letter.data or b"" for letter in letters) == sorted(payloads)
    assert {_headers(letter)["Fleet-Dead-Deliveries"] for letter in letters} == {"1"}
    assert {_headers(letter)["Fleet-Dead-Reason"] for letter in letters} == {
        "it is not a DeadlineDue with a session's ID"
    }
    assert fleet.api.calls == [session_id(1)]


async def test_a_dead_letter_keeps_the_messages_headers_but_not_those_of_its_schedule(
    fleet: Fleet, bus: Client
) -> None:
    async with consuming(fleet, bus):
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await schedule(bus, "garbage", now(), traceparent=parent)
        (letter,) = await _letters(bus, number=1)
    assert _headers(letter)["traceparent"] == parent
    assert not [name for name in _headers(letter) if name.startswith("Nats-Schedule")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Expected-Stream": DEADLINES_STREAM},
        {"Nats-TTL": "1h"},
        {"Nats-Msg-Id": "same"},
        {"Long": "x" * 60_000},
        {"Fleet-Dead-Reason": "because"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_whatever_its_headers_garbage_becomes_a_dead_letter(
    fleet: Fleet, bus: Client, headers: dict[str, str]
) -> None:
    async with consuming(fleet, bus):
        await bus.jetstream().publish(GARBAGE, b"x", headers=headers)
        (letter,) = await _letters(bus, number=1)
    assert _headers(letter)["Fleet-Dead-Reason"].startswith("it is not")


async def test_a_message_as_large_as_the_server_allows_is_cut_and_blocks_nothing(fleet: Fleet, bus: Client) -> None:
    payload = b"\xff" * (bus.max_payload - 256)
    async with consuming(fleet, bus):
        await bus.jetstream().publish(GARBAGE, payload)
        await _reaps_still(fleet, bus)
        (letter,) = await _letters(bus, number=1)
        await all_settled(bus)
    assert letter.data == payload[: 64 * 1024]
    assert _headers(letter)["Fleet-Dead-Size"] == str(len(payload))


async def test_a_session_that_session_api_refuses_becomes_a_dead_letter(fleet: Fleet, bus: Client) -> None:
    name = session_id(5)
    fleet.api.failing[name] = InvalidArgument("no\nsuch thing")
    async with consuming(fleet, bus):
        await schedule(bus, name, now())
        (letter,) = await _letters(bus, number=1, subject=f"dead.v1.reaper.due.session.{name}")
    assert _headers(letter)["Fleet-Dead-Reason"] == "no such thing"


async def test_a_message_that_failed_at_every_delivery_becomes_a_dead_letter(fleet: Fleet, bus: Client) -> None:
    name = session_id(5)
    fleet.api.failing[name] = Unavailable("down")
    await bus.jetstream().publish(f"due.session.{name}", due(name, now()))
    await use_up_deliveries(bus, 9)
    async with reaping(fleet.settings):
        (letter,) = await _letters(bus, number=1, subject=f"dead.v1.reaper.due.session.{name}")
        await all_settled(bus)
    assert letter.data is not None
    assert _headers(letter)["Fleet-Dead-Deliveries"] == "10"
    assert _headers(letter)["Fleet-Dead-Reason"].endswith("down")


async def test_a_dead_letter_that_cannot_be_stored_is_tried_again(fleet: Fleet, bus: Client) -> None:
    stream = bus.jetstream()
    async with consuming(fleet, bus):
        config = (await stream.stream_info(DEAD_LETTERS_STREAM)).config
        await stream.delete_stream(DEAD_LETTERS_STREAM)
        await stream.publish(GARBAGE, b"x")

        async def came_again() -> bool:
            return bool((await consumer(bus)).num_redelivered)

        await eventually(came_again, within=10, what="the message comes again")
        await _reaps_still(fleet, bus)
        await stream.add_stream(config)
        (letter,) = await _letters(bus, number=1)
        await all_settled(bus)
    assert int(_headers(letter)["Fleet-Dead-Deliveries"]) > 1


async def test_a_server_without_room_for_dead_letters_is_no_obstacle(
    fleet: Fleet, bus: Client, caplog: pytest.LogCaptureFixture
) -> None:
    stream = bus.jetstream()
    await stream.delete_stream(DEAD_LETTERS_STREAM)
    # Whoever holds the subjects keeps the stream from being made.
    await stream.add_stream(StreamConfig(name="OTHER", subjects=["dead.v1.>"]))
    await stream.publish(GARBAGE, b"x")
    await use_up_deliveries(bus, 9)
    async with consuming(fleet, bus):
        await all_settled(bus)
        await _reaps_still(fleet, bus)
    with pytest.raises(NotFoundError):
        await stream.stream_info(DEAD_LETTERS_STREAM)
    assert f"a message on {GARBAGE} is lost" in caplog.text


async def test_dead_letters_are_counted(metric_reader: InMemoryMetricReader, fleet: Fleet, bus: Client) -> None:
    def dead() -> float:
        return metric_value(metric_reader, "fleet.events.dead", consumer="reaper") or 0

    before = dead()
    async with consuming(fleet, bus):
        for payload in (b"x", b"y"):
            await bus.jetstream().publish(GARBAGE, payload)
        await _letters(bus, number=2)
        await all_settled(bus)
    assert dead() == before + 2
