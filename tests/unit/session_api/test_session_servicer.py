"""SessionService as its clients see it when they ask well."""

import asyncio
from datetime import timedelta

import pytest

from browserfleet.browser.v1 import browser_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.times import duration
from tests.support.fleet_builders import NOON
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import (
    a_creation,
    a_list,
    fields_of,
    filtered,
    lasting,
    metadata_of,
    reason_of,
    retry_after,
)
from tests.unit.session_api.refusals import refusal_of

_HOUR = timedelta(hours=1)
_RUNNING = session_pb2.Session.STATE_RUNNING
_QUEUED = session_pb2.Session.STATE_QUEUED
_NO_WAIT = session_service_pb2.CreateSessionRequest.WAIT_NONE


async def _fill(entry: Entry) -> list[str]:
    """Take every slot that is free."""
    return [(await entry.create(a_creation())).id for _ in range(2)]


# ---- creating


async def test_a_created_session_can_be_attached_to(entry: Entry) -> None:
    session = await entry.create(lasting(5))
    assert session.state == _RUNNING
    assert (session.open, session.epoch, session.browser.product) == (True, 1, "Chrome/150.0")
    assert session.cdp_url == f"http://edge.test/attach/{session.id}"
    assert session.attach.direct_url.startswith(f"ws://127.0.0.1:1/attach/{session.id}?token=")
    assert session.attach.edge_url.startswith(f"ws://edge.test/attach/{session.id}?token=")
    assert session.node_id == entry.node_id
    assert session.expire_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR + timedelta(minutes=5)


async def test_a_session_shows_what_was_asked_for(entry: Entry) -> None:
    request = a_creation(
        labels={"team/a.b-c_d": "qa", "x": ""},
        idle_timeout=duration(timedelta(seconds=10)),
        idle_activity=session_pb2.IDLE_ACTIVITY_INPUT,
        spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_CHROME),
    )
    session = await entry.create(request)
    assert dict(session.labels) == {"team/a.b-c_d": "qa", "x": ""}
    assert session.idle_timeout.ToTimedelta() == timedelta(seconds=10)
    assert session.idle_activity == session_pb2.IDLE_ACTIVITY_INPUT
    assert session.spec.browser_type == browser_pb2.BROWSER_TYPE_CHROME


async def test_what_is_left_out_takes_its_default(entry: Entry) -> None:
    session = await entry.create(a_creation(idle_timeout=duration(_HOUR)))
    assert session.timeout.ToTimedelta() == _HOUR
    assert session.idle_activity == session_pb2.IDLE_ACTIVITY_CONNECTION
    assert session.spec.browser_type == browser_pb2.BROWSER_TYPE_CHROME
    assert "idle_timeout" not in fields_of(await entry.get(entry.running))


@pytest.mark.parametrize(
    "request_fields",
    [
        {"request_id": ""},
        {"request_id": "x"},
        {"request_id": "x" * 128},
        {"request_id": "!~"},
        {"timeout": duration(timedelta(minutes=5))},
        {"timeout": duration(timedelta(minutes=1440))},
        {"queue_timeout": duration(timedelta(0))},
        {"queue_timeout": duration(_HOUR)},
        {"idle_timeout": duration(timedelta(seconds=10))},
        {"idle_timeout": duration(timedelta(days=1))},
        {"labels": {f"name-{number}": "v" * 256 for number in range(16)}},
        {"labels": {"n" * 63: "ü 🙂"}},
    ],
)
async def test_what_lies_within_its_bounds_is_good(entry: Entry, request_fields: dict[str, object]) -> None:
    assert (await entry.create(a_creation(**request_fields))).state == _RUNNING


async def test_a_create_that_does_not_wait_answers_at_once(entry: Entry) -> None:
    entry.fleet.gateway.may_start.clear()
    session = await entry.create(a_creation(wait=_NO_WAIT))
    assert session.state == session_pb2.Session.STATE_STARTING
    assert not session.open
    assert not session.HasField("attach")
    entry.fleet.gateway.may_start.set()


async def test_a_create_answers_with_its_place_shortly_before_its_deadline(entry: Entry) -> None:
    await _fill(entry)
    session = await entry.call(entry.door.sessions.CreateSession, a_creation(), timeout=0.6)
    assert session.state == _QUEUED
    assert (session.queue.position, session.queue.reason) == (1, session_pb2.QUEUE_REASON_FLEET_FULL)
    assert session.queue.message == "Every slot of the nodes that can serve such a session is taken."
    assert session.queue.expire_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR + timedelta(minutes=5)


async def test_a_create_that_waits_answers_when_its_turn_has_come(entry: Entry) -> None:
    held, _ = await _fill(entry)
    waiting = await entry.create(a_creation(request_id="mine", wait=_NO_WAIT))
    assert waiting.state == _QUEUED
    create = asyncio.ensure_future(entry.create(a_creation(request_id="mine")))
    await entry.close(held)
    await entry.fleet.dispatch()
    session = await create
    assert (session.state, session.HasField("attach"), session.HasField("queue")) == (_RUNNING, True, False)
    assert session.id == waiting.id


async def test_a_full_fleet_says_when_to_try_again_to_whoever_does_not_wait(entry: Entry) -> None:
    await _fill(entry)
    refusal = await refusal_of(entry.create(a_creation(queue_timeout=duration(timedelta(0)))))
    assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "NO_CAPACITY")
    assert retry_after(refusal) == timedelta(seconds=5)


# ---- finding


async def test_a_queued_session_shows_its_place_until_it_is_closed(entry: Entry) -> None:
    await _fill(entry)
    waiting = await entry.create(a_creation(wait=_NO_WAIT))
    assert (await entry.get(waiting.id)).queue.position == 1
    listed = await entry.list(filtered(states=[_QUEUED]))
    assert [(session.id, session.HasField("queue")) for session in listed.sessions] == [(waiting.id, False)]
    closed = await entry.close(waiting.id)
    assert (closed.state, closed.HasField("queue")) == (session_pb2.Session.STATE_CLOSED, False)


async def test_an_ended_session_stays_readable_with_its_reason(entry: Entry) -> None:
    session = await entry.get(entry.closed)
    assert session.state == session_pb2.Session.STATE_CLOSED
    assert session.close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED
    assert session.close_message == "The session was closed on request."
    assert (session.open, session.HasField("end_time"), session.HasField("attach")) == (False, True, False)


async def test_an_enormous_page_is_reduced_and_attach_addresses_are_left_out(entry: Entry) -> None:
    answer = await entry.list(a_list(page_size=10**9))
    assert [session.id for session in answer.sessions] == sorted([entry.closed, entry.running], reverse=True)
    assert not any(session.HasField("attach") for session in answer.sessions)
    assert answer.next_page_token == ""


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("", ["closed", "running"]),
        ("create_time desc", ["closed", "running"]),
        ("create_time", ["running", "closed"]),
        ("expire_time", ["running", "closed"]),
        ("expire_time desc", ["closed", "running"]),
    ],
)
async def test_pages_follow_one_another_in_every_order(entry: Entry, order_by: str, expected: list[str]) -> None:
    ids = {entry.running: "running", entry.closed: "closed"}
    found, token = [], ""
    for _ in ids:
        answer = await entry.list(a_list(page_size=1, page_token=token, order_by=order_by))
        found += [ids[session.id] for session in answer.sessions]
        token = answer.next_page_token
    assert (found, token) == (expected, "")


async def test_a_filter_narrows_by_everything_that_it_names(entry: Entry) -> None:
    wanted = await entry.create(a_creation(labels={"team": "qa", "tier": "1"}))
    request = filtered(
        states=[_RUNNING],
        node_id=entry.node_id,
        browser_types=[browser_pb2.BROWSER_TYPE_CHROME],
        labels={"team": "qa"},
        create_after=wanted.create_time,
    )
    assert [session.id for session in (await entry.list(request)).sessions] == [wanted.id]
    request.filter.create_before.CopyFrom(wanted.create_time)
    assert len((await entry.list(request)).sessions) == 0


async def test_a_reaper_finds_what_is_due(entry: Entry) -> None:
    now = NOON + _HOUR
    request = filtered()
    request.filter.due_before.FromDatetime(now + 2 * _HOUR)
    # Its clock is ahead of the database's.
    assert len((await entry.list(request, key=entry.service)).sessions) == 0
    entry.fleet.clock.step(_HOUR)
    due = await entry.list(request, key=entry.service)
    assert [session.id for session in due.sessions] == [entry.running]


async def test_a_service_key_lists_every_organization(entry: Entry) -> None:
    mine = await entry.list(a_list(), key=entry.stranger)
    all_of_them = await entry.list(filtered(states=[_RUNNING]), key=entry.service)
    assert len(mine.sessions) == 0
    assert [session.id for session in all_of_them.sessions] == [entry.running]


# ---- the end


async def test_closing_a_closed_session_answers_with_it(entry: Entry) -> None:
    assert await entry.close(entry.closed) == await entry.get(entry.closed)


async def test_an_extension_answers_with_the_later_deadline(entry: Entry) -> None:
    before = await entry.get(entry.running)
    session = await entry.extend(entry.running, duration(timedelta(minutes=7)))
    assert session.timeout.ToTimedelta() - before.timeout.ToTimedelta() == timedelta(minutes=7)
    assert session.expire_time.ToDatetime() - before.expire_time.ToDatetime() == timedelta(minutes=7)
    assert session.HasField("attach")


async def test_reaping_before_the_deadline_returns_the_running_session(entry: Entry) -> None:
    session = await entry.reap(entry.running)
    assert (session.state, session.HasField("attach")) == (_RUNNING, False)
    entry.fleet.clock.step(_HOUR)
    session = await entry.reap(entry.running)
    assert session.close_reason == session_pb2.CLOSE_REASON_TIMED_OUT


# ---- who holds it, who controls it


async def test_a_run_holds_a_session_and_releases_it(entry: Entry) -> None:
    request = session_service_pb2.OccupySessionRequest(
        session_id=entry.running,
        holder_kind=session_pb2.HOLDER_KIND_AGENT,
        holder_id="agent-7",
        ttl=duration(timedelta(minutes=1)),
    )
    held = await entry.call(entry.door.sessions.OccupySession, request)
    assert (held.occupied, held.occupancy.holder_id, held.occupancy.generation) == (True, "agent-7", 1)
    assert held.occupancy.holder_kind == session_pb2.HOLDER_KIND_AGENT
    assert held.occupancy.expire_time.ToDatetime() - held.occupancy.occupy_time.ToDatetime() == timedelta(minutes=1)
    request.holder_id = "agent-8"
    refusal = await refusal_of(entry.call(entry.door.sessions.OccupySession, request))
    assert (refusal.code().name, reason_of(refusal)) == ("FAILED_PRECONDITION", "SESSION_OCCUPIED")
    assert metadata_of(refusal) == {"holder_kind": "AGENT", "holder_id": "agent-7", "generation": "1"}
    release = session_service_pb2.ReleaseSessionRequest(session_id=entry.running, generation=1)
    released = await entry.call(entry.door.sessions.ReleaseSession, release)
    assert (released.occupied, released.HasField("occupancy")) == (False, False)


async def test_a_holding_without_a_lifetime_ends_with_the_session(entry: Entry) -> None:
    request = session_service_pb2.OccupySessionRequest(
        session_id=entry.running, holder_kind=session_pb2.HOLDER_KIND_TASK, holder_id="run-1"
    )
    held = await entry.call(entry.door.sessions.OccupySession, request)
    assert not held.occupancy.HasField("expire_time")
    assert not (await entry.close(entry.running)).occupied


async def test_a_person_takes_control_for_a_minute_and_hands_it_back(entry: Entry) -> None:
    request = session_service_pb2.TakeControlRequest(session_id=entry.running, holder="Ada Lovelace 🙂")
    taken = await entry.call(entry.door.sessions.TakeControl, request)
    assert (taken.control.holder, taken.control.generation) == ("Ada Lovelace 🙂", 1)
    assert taken.control.expire_time.ToDatetime() - taken.control.take_time.ToDatetime() == timedelta(minutes=1)
    request.holder = "Bob"
    refusal = await refusal_of(entry.call(entry.door.sessions.TakeControl, request))
    assert (refusal.code().name, reason_of(refusal)) == ("FAILED_PRECONDITION", "CONTROL_TAKEN")
    assert metadata_of(refusal)["holder"] == "Ada Lovelace 🙂"
    request.take_over = True
    taken = await entry.call(entry.door.sessions.TakeControl, request)
    assert (taken.control.holder, taken.control.generation) == ("Bob", 2)
    release = session_service_pb2.ReleaseControlRequest(session_id=entry.running, generation=2)
    assert not (await entry.call(entry.door.sessions.ReleaseControl, release)).HasField("control")
