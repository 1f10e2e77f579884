"""The front door against what comes over the wire: sizes, garbage, deadlines, connections that are no client's."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2

from browserfleet.session.v1 import session_service_pb2
from fleetkit.postgres import DatabaseUnavailable
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import a_creation, a_list, reason_of, retry_after
from tests.unit.session_api.refusals import INVALID, Attempt, Refusal, refusal_of, see_refused

_GET = "/browserfleet.session.v1.SessionService/GetSession"
_CREATE = "/browserfleet.session.v1.SessionService/CreateSession"
_EXHAUSTED: Refusal = ("RESOURCE_EXHAUSTED", None)
_UNKNOWN: Refusal = ("UNIMPLEMENTED", None)


def _request_for(entry: Entry) -> session_service_pb2.GetSessionRequest:
    return session_service_pb2.GetSessionRequest(session_id=entry.running)


async def _plainly(entry: Entry, method: str) -> object:
    """Call without what our own clients have around their calls."""
    async with grpc.aio.insecure_channel(entry.door.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        return await entry.call(call, b"")


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 3: messages
    "a message of more than 4 MiB is refused": (
        lambda e: e.list(a_list(page_token="x" * (4 * 1024 * 1024 + 1))),
        _EXHAUSTED,
    ),
    "an unknown method is refused": (lambda e: e.raw(f"{_GET}s", b""), _UNKNOWN),
    "an unknown service is refused": (lambda e: e.raw("/nobody/Knows", b""), _UNKNOWN),
    "a method without a service is refused": (lambda e: _plainly(e, "/GetSession"), _UNKNOWN),
    "a path that is no method is refused": (lambda e: _plainly(e, "/../../etc/passwd"), _UNKNOWN),
    "text that is not UTF-8 is refused": (lambda e: e.raw(_GET, b"\x0a\x02\xc3\x28"), INVALID),
    "bytes that are no message are refused": (lambda e: e.raw(_GET, b"\xff\xff\xff"), INVALID),
    "a length beyond the message is refused": (lambda e: e.raw(_GET, b"\x0a\x7fab"), INVALID),
    "groups without an end are refused": (lambda e: e.raw(_CREATE, b"\x0b" * 200), INVALID),
    # 4: metadata
    "10,000 metadata keys are refused": (
        lambda e: e.get(e.running, key=(*e.member, *((f"key-{number}", "x") for number in range(10_000)))),
        _EXHAUSTED,
    ),
    "a megabyte of metadata is refused": (
        lambda e: e.get(e.running, key=(*e.member, ("key", "x" * 2**20))),
        _EXHAUSTED,
    ),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_wire(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)


async def test_fields_that_this_version_does_not_know_are_passed_over(entry: Entry) -> None:
    request = _request_for(entry).SerializeToString()
    # Field 2047, a string.
    assert await entry.raw(_GET, request + b"\xfa\x7f\x03new")


# ---- 5: deadlines


@pytest.mark.parametrize("seconds", [None, timedelta(days=100).total_seconds()])
async def test_a_call_without_a_deadline_or_with_a_distant_one_is_answered(entry: Entry, seconds: float | None) -> None:
    answer = await entry.door.sessions.GetSession(_request_for(entry), metadata=entry.member, timeout=seconds)
    assert answer.id == entry.running


async def test_a_deadline_that_has_passed_is_exceeded(entry: Entry) -> None:
    refusal = await refusal_of(entry.call(entry.door.sessions.GetSession, _request_for(entry), timeout=-1))
    assert refusal.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_deadline_that_passes_while_the_database_is_busy_is_exceeded(entry: Entry) -> None:
    async with entry.fleet.database.transaction():
        refusal = await refusal_of(entry.call(entry.door.sessions.GetSession, _request_for(entry), timeout=0.05))
    assert refusal.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await entry.get(entry.running)).id == entry.running


# ---- what we need ourselves


async def test_an_absent_database_is_said_to_be_absent(entry: Entry) -> None:
    await entry.get(entry.running)
    entry.fleet.database.fails_with = DatabaseUnavailable(
        "The database does not answer.", retry_after=timedelta(seconds=1)
    )
    for attempt in (entry.get(entry.running), entry.create(a_creation()), entry.get(entry.running, key=entry.admin)):
        refusal = await refusal_of(attempt)
        assert (refusal.code().name, reason_of(refusal)) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        assert retry_after(refusal) == timedelta(seconds=1)
    entry.fleet.database.fails_with = None
    assert (await entry.create(a_creation())).open


# ---- 6: connections


async def test_bytes_that_are_no_http2_close_the_connection_only(entry: Entry) -> None:
    host, _, port = entry.door.address.rpartition(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 10, b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 512, b"\xff" * 1024):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(10):
            while await reader.read(4096):
                pass
        writer.close()
    assert (await entry.get(entry.running)).id == entry.running


async def test_connections_that_say_nothing_hold_up_nobody(entry: Entry) -> None:
    host, _, port = entry.door.address.rpartition(":")
    writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(50)]
    for writer in writers[::2]:
        # The beginning of an HTTP/2 preface, and never its end.
        writer.write(b"PRI * HT")
    assert (await entry.get(entry.running)).id == entry.running
    for writer in writers:
        writer.close()


# ---- what needs no key


async def test_health_and_reflection_need_no_credentials(entry: Entry) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
        entry.door.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
    )
    names = ["session.v1.Session", "node.v1.Node", "organization.v1.Organization", "usage.v1.Usage"]
    for service in ("", *(f"browserfleet.{name}Service" for name in names)):
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
