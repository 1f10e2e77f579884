"""The front door as its clients see it: good answers, and the bad-input matrix with exact codes and reasons."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from browserfleet.artifact.v1 import artifact_service_pb2
from browserfleet.browser.v1 import browser_pb2
from browserfleet.error.v1 import error_reason_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.client import bearer
from fleetkit.rpc.times import duration
from session_api.domain.caller import Scope, api_key_digest
from session_api.domain.session import OrganizationId
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, a_session_id
from tests.support.fleet_rpc import FrontDoor, serving_front_door
from tests.unit.session_api.fleet import Fleet

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The front door, the fleet behind it, keys of every scope, and some sessions."""

    door: FrontDoor
    fleet: Fleet
    member: Metadata
    stranger: Metadata
    service: Metadata
    node: Metadata
    revoked: Metadata
    running: str
    closed: str

    async def create(self, request: session_service_pb2.CreateSessionRequest) -> session_pb2.Session:
        return await self.door.sessions.CreateSession(request, metadata=self.member, timeout=10)

    async def get(self, session_id: str, *, metadata: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=session_id)
        return await self.door.sessions.GetSession(
            request, metadata=self.member if metadata is None else metadata, timeout=10
        )

    async def close(self, session_id: str, *, metadata: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        return await self.door.sessions.CloseSession(request, metadata=metadata or self.member, timeout=10)

    async def extend(
        self, session_id: str, by: Duration | None, *, metadata: Metadata | None = None
    ) -> session_pb2.Session:
        request = session_service_pb2.ExtendSessionRequest(session_id=session_id, additional_time=by)
        return await self.door.sessions.ExtendSession(request, metadata=metadata or self.member, timeout=10)

    async def list(
        self, request: session_service_pb2.ListSessionsRequest, *, metadata: Metadata | None = None
    ) -> session_service_pb2.ListSessionsResponse:
        return await self.door.sessions.ListSessions(request, metadata=metadata or self.member, timeout=10)

    async def reap(self, session_id: str, *, metadata: Metadata) -> session_pb2.Session:
        request = session_service_pb2.ReapSessionRequest(session_id=session_id)
        return await self.door.sessions.ReapSession(request, metadata=metadata, timeout=10)

    async def register(
        self, request: node_service_pb2.RegisterNodeRequest, *, metadata: Metadata | None = None
    ) -> node_service_pb2.RegisterNodeResponse:
        return await self.door.nodes.RegisterNode(request, metadata=metadata or self.node, timeout=10)

    async def beat(self, request: node_service_pb2.HeartbeatRequest) -> node_service_pb2.HeartbeatResponse:
        return await self.door.nodes.Heartbeat(request, metadata=self.node, timeout=10)

    async def raw(self, method: str, body: bytes) -> object:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.door.channel.unary_unary(method)
        return await call(body, metadata=self.member, timeout=10)


@pytest.fixture
async def entry(fleet: Fleet) -> AsyncIterator[Entry]:
    async def key(scope: Scope, organization_id: OrganizationId = ORGANIZATION) -> Metadata:
        return bearer(await fleet.access.create_key(organization_id=organization_id, scope=scope))

    revoked = await key(Scope.MEMBER)
    fleet.database.revoke(api_key_digest(revoked[0][1].removeprefix("Bearer ")))
    await fleet.with_node(slots=3)
    running, closed = await fleet.create(request_id="taken"), await fleet.create()
    async with serving_front_door(database=fleet.database, sessions=fleet.sessions, nodes=fleet.nodes) as door:
        entry = Entry(
            door=door,
            fleet=fleet,
            member=await key(Scope.MEMBER),
            stranger=await key(Scope.MEMBER, OTHER_ORGANIZATION),
            service=await key(Scope.SERVICE, OTHER_ORGANIZATION),
            node=await key(Scope.NODE),
            revoked=revoked,
            running=running.id,
            closed=closed.id,
        )
        await entry.close(closed.id)
        yield entry


def _create(**fields: object) -> session_service_pb2.CreateSessionRequest:
    return session_service_pb2.CreateSessionRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def _lasting(minutes: float) -> session_service_pb2.CreateSessionRequest:
    return _create(timeout=duration(timedelta(minutes=minutes)))


def _node(**changes: object) -> node_service_pb2.RegisterNodeRequest:
    fields: dict[str, object] = {
        "name": "node-x",
        "address": "127.0.0.1:1",
        "attach_url": "ws://127.0.0.1:2",
        "slots": 1,
        "browsers": [node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_CHROME, product="Chrome/1")],
    }
    return node_service_pb2.RegisterNodeRequest(**fields | changes)  # type: ignore[arg-type]  # wrong on purpose


def _list(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return session_service_pb2.ListSessionsRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def _filter(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return _list(filter=session_service_pb2.SessionFilter(**fields))  # type: ignore[arg-type]  # wrong on purpose


_GET = "/browserfleet.session.v1.SessionService/GetSession"
_A_MINUTE = Duration(seconds=60)
_INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
_NO_KEY = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
_NOT_FOUND = ("NOT_FOUND", "SESSION_NOT_FOUND")
_SCOPE = ("PERMISSION_DENIED", "SCOPE_MISSING")

Bad = Callable[[Entry], Awaitable[object]]

_BAD_INPUT: dict[str, tuple[Bad, tuple[str, str | None]]] = {
    # 1: credentials
    "no credentials are refused": (lambda e: e.get(e.running, metadata=()), _NO_KEY),
    "a scheme that is not bearer is refused": (
        lambda e: e.get(e.running, metadata=(("authorization", "Basic Zm9v"),)),
        _NO_KEY,
    ),
    "a bearer without a key is refused": (
        lambda e: e.get(e.running, metadata=(("authorization", "Bearer "),)),
        _NO_KEY,
    ),
    "an unknown key is refused": (lambda e: e.get(e.running, metadata=bearer("bf_unknown")), _NO_KEY),
    "a revoked key is refused": (lambda e: e.get(e.running, metadata=e.revoked), _NO_KEY),
    "a nodes key does not use sessions": (lambda e: e.get(e.running, metadata=e.node), _SCOPE),
    "a members key does not register nodes": (lambda e: e.register(_node(), metadata=e.member), _SCOPE),
    "a members key does not reap": (lambda e: e.reap(e.running, metadata=e.member), _SCOPE),
    # 2: another organization's
    "another organizations session is not found": (lambda e: e.get(e.running, metadata=e.stranger), _NOT_FOUND),
    "another organizations session is not closed": (lambda e: e.close(e.running, metadata=e.stranger), _NOT_FOUND),
    "another organizations session is not extended": (
        lambda e: e.extend(e.running, _A_MINUTE, metadata=e.stranger),
        _NOT_FOUND,
    ),
    # 3: the wire
    "a message of more than 4 MiB is refused": (
        lambda e: e.list(_list(page_token="x" * (4 * 1024 * 1024 + 1))),
        ("RESOURCE_EXHAUSTED", None),
    ),
    "an unknown method is refused": (lambda e: e.raw(f"{_GET}s", b""), ("UNIMPLEMENTED", None)),
    "an unknown service is refused": (lambda e: e.raw("/nobody/Knows", b""), ("UNIMPLEMENTED", None)),
    "text that is not UTF-8 is refused": (lambda e: e.raw(_GET, b"\x0a\x02\xc3\x28"), _INVALID),
    "bytes that are no message are refused": (lambda e: e.raw(_GET, b"\xff\xff\xff"), _INVALID),
    # 7: lifetimes
    "a timeout of 0 is refused": (lambda e: e.create(_lasting(0)), _INVALID),
    "a timeout of minus 1 is refused": (lambda e: e.create(_lasting(-1)), _INVALID),
    "a timeout of 4 minutes is refused": (lambda e: e.create(_lasting(4)), _INVALID),
    "a timeout of 1441 minutes is refused": (lambda e: e.create(_lasting(1441)), _INVALID),
    "a timeout of five and a half minutes is refused": (lambda e: e.create(_lasting(5.5)), _INVALID),
    "a timeout of 2^63 seconds is refused": (
        lambda e: e.create(_create(timeout=Duration(seconds=2**63 - 1))),
        _INVALID,
    ),
    "a timeout with wrong nanoseconds is refused": (
        lambda e: e.create(_create(timeout=Duration(seconds=600, nanos=-1))),
        _INVALID,
    ),
    # 8, 9: browsers
    "an unknown browser type is refused": (
        lambda e: e.create(_create(spec=browser_pb2.BrowserSpec(browser_type=99))),  # type: ignore[arg-type]  # wrong
        _INVALID,
    ),
    "a browser that no node has is refused": (
        lambda e: e.create(_create(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))),
        ("FAILED_PRECONDITION", "NO_CAPABLE_NODE"),
    ),
    # 16: idempotency keys
    "a request ID of 129 characters is refused": (lambda e: e.create(_create(request_id="x" * 129)), _INVALID),
    "a request ID with a blank is refused": (lambda e: e.create(_create(request_id="a b")), _INVALID),
    "a request ID with a NUL is refused": (lambda e: e.create(_create(request_id="a\0")), _INVALID),
    "a request ID that is not ASCII is refused": (lambda e: e.create(_create(request_id="ä")), _INVALID),
    "a request ID that ends its line is refused": (lambda e: e.create(_create(request_id="a\n")), _INVALID),
    "a request ID of another request is refused": (
        lambda e: e.create(_create(request_id="taken", timeout=Duration(seconds=600))),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED"),
    ),
    # 20: IDs
    "an empty ID is refused": (lambda e: e.get(""), _INVALID),
    "an ID of another kind is refused": (lambda e: e.get("nod_" + "0" * 26), _INVALID),
    "an ID in capitals is refused": (lambda e: e.get("pbs_" + "A" * 26), _INVALID),
    "an ID that ends its line is refused": (lambda e: e.get(f"{e.running}\n"), _INVALID),
    "an ID of a megabyte is refused": (lambda e: e.get("pbs_" + "0" * 2**20), _INVALID),
    "SQL is no ID": (lambda e: e.close("pbs_'; DROP TABLE session; --"), _INVALID),
    "a path is no ID": (lambda e: e.extend("pbs_/../../etc/passwd", _A_MINUTE), _INVALID),
    # 21, 22: ends and extensions
    "a session that never was is not found": (lambda e: e.get(a_session_id()), _NOT_FOUND),
    "a session that never was is not closed": (lambda e: e.close(a_session_id()), _NOT_FOUND),
    "a session that never was is not reaped": (lambda e: e.reap(a_session_id(), metadata=e.service), _NOT_FOUND),
    "an ended session is not extended": (
        lambda e: e.extend(e.closed, _A_MINUTE),
        ("FAILED_PRECONDITION", "SESSION_NOT_OPEN"),
    ),
    "an extension past the limit is refused": (
        lambda e: e.extend(e.running, Duration(seconds=86400)),
        ("OUT_OF_RANGE", "TIMEOUT_LIMIT"),
    ),
    "an extension by nothing is refused": (lambda e: e.extend(e.running, Duration()), _INVALID),
    "an extension without a time is refused": (lambda e: e.extend(e.running, None), _INVALID),
    "a shrinking extension is refused": (lambda e: e.extend(e.running, Duration(seconds=-60)), _INVALID),
    # 23: lists
    "a page of minus 1 is refused": (lambda e: e.list(_list(page_size=-1)), _INVALID),
    "a forged page token is refused": (
        lambda e: e.list(_list(page_token="Zm9yZ2Vk")),
        ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
    ),
    "a page token of 1025 characters is refused": (lambda e: e.list(_list(page_token="x" * 1025)), _INVALID),
    "an unknown state is refused": (lambda e: e.list(_filter(states=[99])), _INVALID),
    "an instant after the year 9999 is refused": (
        lambda e: e.list(_filter(expire_before=Timestamp(seconds=2**62))),
        _INVALID,
    ),
    # 25: nodes
    "a node without slots is refused": (lambda e: e.register(_node(slots=0)), _INVALID),
    "a node with minus 1 slots is refused": (lambda e: e.register(_node(slots=-1)), _INVALID),
    "a node with a million slots is refused": (lambda e: e.register(_node(slots=10**6)), _INVALID),
    "a node without browsers is refused": (lambda e: e.register(_node(browsers=[])), _INVALID),
    "a node with a name in capitals is refused": (lambda e: e.register(_node(name="Node")), _INVALID),
    "a node with an attach address that is no WebSocket is refused": (
        lambda e: e.register(_node(attach_url="http://127.0.0.1:2")),
        _INVALID,
    ),
    "a heartbeat of an unknown registration is refused": (
        lambda e: e.beat(node_service_pb2.HeartbeatRequest(node_id="nod_x", registration_id="reg_x")),
        ("ABORTED", "REGISTRATION_ENDED"),
    ),
    "a heartbeat of nobody is refused": (lambda e: e.beat(node_service_pb2.HeartbeatRequest()), _INVALID),
    # Artifacts
    "uploads are served elsewhere": (
        lambda e: e.door.artifacts.UploadArtifact(iter(()), metadata=e.member, timeout=10),
        ("UNIMPLEMENTED", "SERVED_ELSEWHERE"),
    ),
    "artifacts of another organizations session are not listed": (
        lambda e: e.door.artifacts.ListArtifacts(
            artifact_service_pb2.ListArtifactsRequest(session_id=e.running), metadata=e.stranger, timeout=10
        ),
        _NOT_FOUND,
    ),
    "an absent artifact-store is said to be absent": (
        lambda e: e.door.artifacts.ListArtifacts(
            artifact_service_pb2.ListArtifactsRequest(session_id=e.running), metadata=e.member, timeout=10
        ),
        ("UNAVAILABLE", "ARTIFACT_STORE_UNAVAILABLE"),
    ),
}


def _reason(error: grpc.aio.AioRpcError) -> str | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "browserfleet"
            assert f"ERROR_REASON_{info.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118  # not a dict
            return str(info.reason)
    return None


@pytest.mark.parametrize("sentence", list(_BAD_INPUT))
async def test_bad_input(entry: Entry, sentence: str) -> None:
    attempt, (code, reason) = _BAD_INPUT[sentence]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await attempt(entry)
    assert refusal.value.code().name == code
    assert _reason(refusal.value) == reason
    # The server goes on, and nothing changed.
    assert (await entry.get(entry.running)).state == session_pb2.Session.STATE_RUNNING


async def test_absent_and_foreign_sessions_are_told_apart_by_nothing(entry: Entry) -> None:
    refusals = []
    for session_id in (entry.running, a_session_id()):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await entry.get(session_id, metadata=entry.stranger)
        refusals.append((refusal.value.code(), refusal.value.details(), refusal.value.trailing_metadata()))
    assert refusals[0] == refusals[1]


async def test_a_created_session_can_be_attached_to(entry: Entry) -> None:
    session = await entry.create(_lasting(5))
    assert session.state == session_pb2.Session.STATE_RUNNING
    assert (session.open, session.epoch, session.browser.product) == (True, 1, "Chrome/150.0")
    assert session.cdp_url == f"http://edge.test/attach/{session.id}"
    assert session.attach.direct_url.startswith(f"ws://127.0.0.1:1/attach/{session.id}?token=")
    assert session.attach.edge_url.startswith(f"ws://edge.test/attach/{session.id}?token=")


async def test_a_full_fleet_says_when_to_try_again(entry: Entry) -> None:
    await entry.create(_create())
    await entry.create(_create())
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await entry.create(_create())
    assert (refusal.value.code().name, _reason(refusal.value)) == ("RESOURCE_EXHAUSTED", "NO_CAPACITY")
    status = rpc_status.from_call(refusal.value)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def test_closing_a_closed_session_answers_with_it(entry: Entry) -> None:
    session = await entry.close(entry.closed)
    assert session.state == session_pb2.Session.STATE_CLOSED
    assert session.close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED
    assert not session.HasField("attach")


@pytest.mark.parametrize("request_id", ["", "x", "x" * 128, "!~"])
async def test_a_request_id_of_up_to_128_printable_characters_is_good(entry: Entry, request_id: str) -> None:
    assert (await entry.create(_create(request_id=request_id))).id


@pytest.mark.parametrize("minutes", [5, 1440])
async def test_a_timeout_at_the_ends_of_the_range_is_good(entry: Entry, minutes: int) -> None:
    session = await entry.create(_lasting(minutes))
    assert session.timeout.ToTimedelta() == timedelta(minutes=minutes)


async def test_an_enormous_page_is_reduced_and_attach_addresses_are_left_out(entry: Entry) -> None:
    answer = await entry.list(_list(page_size=10**9))
    assert [session.id for session in answer.sessions] == sorted([entry.closed, entry.running], reverse=True)
    assert not any(session.HasField("attach") for session in answer.sessions)
    assert answer.next_page_token == ""


async def test_pages_follow_one_another_and_belong_to_their_query(entry: Entry) -> None:
    first = await entry.list(_list(page_size=1))
    second = await entry.list(_list(page_size=1, page_token=first.next_page_token))
    assert [first.sessions[0].id, second.sessions[0].id] == sorted([entry.closed, entry.running], reverse=True)
    foreign = [
        entry.list(_list(page_token=first.next_page_token), metadata=entry.stranger),
        entry.list(_list(page_token=first.next_page_token, filter=session_service_pb2.SessionFilter(node_id="nod_x"))),
    ]
    for attempt in foreign:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await attempt
        assert _reason(refusal.value) == "INVALID_PAGE_TOKEN"


async def test_a_service_key_lists_every_organization(entry: Entry) -> None:
    mine = await entry.list(_list(), metadata=entry.stranger)
    all_of_them = await entry.list(_filter(states=[session_pb2.Session.STATE_RUNNING]), metadata=entry.service)
    assert len(mine.sessions) == 0
    assert [session.id for session in all_of_them.sessions] == [entry.running]


async def test_reaping_before_the_deadline_returns_the_running_session(entry: Entry) -> None:
    session = await entry.reap(entry.running, metadata=entry.service)
    assert session.state == session_pb2.Session.STATE_RUNNING
    entry.fleet.clock.step(timedelta(minutes=60))
    session = await entry.reap(entry.running, metadata=entry.service)
    assert session.close_reason == session_pb2.CLOSE_REASON_TIMED_OUT


async def test_a_node_registers_beats_and_hears_what_it_needs(entry: Entry) -> None:
    registration = await entry.register(_node(name="node-a", slots=4))
    assert registration.heartbeat_interval.ToTimedelta() == timedelta(seconds=5)
    assert registration.isolation_budget.ToTimedelta() == timedelta(seconds=120)
    assert "PUBLIC KEY" in registration.token_public_key
    session = await entry.create(_lasting(5))
    report = node_service_pb2.HeartbeatRequest(
        node_id=registration.node_id, registration_id=registration.registration_id
    )
    answer = await entry.beat(report)
    assert [(row.session_id, row.epoch) for row in answer.assignments] == [(session.id, 1)]


@pytest.mark.parametrize("reason", [0, 6, 10, 99])
async def test_a_reason_that_this_version_does_not_know_counts_as_a_crash(entry: Entry, reason: int) -> None:
    registration = await entry.register(_node(name="node-b", slots=9))
    session = await entry.create(_create())
    ended = node_pb2.EndedBrowser(session_id=session.id, epoch=1, close_reason=reason)  # type: ignore[arg-type]  # a newer node's
    await entry.beat(
        node_service_pb2.HeartbeatRequest(
            node_id=registration.node_id, registration_id=registration.registration_id, ended=[ended]
        )
    )
    expected = session_pb2.CLOSE_REASON_OUT_OF_MEMORY if reason == 10 else session_pb2.CLOSE_REASON_BROWSER_CRASHED
    assert (await entry.get(session.id)).close_reason == expected


async def test_a_browser_type_that_this_version_does_not_know_is_left_out(entry: Entry) -> None:
    browsers = [
        node_pb2.InstalledBrowser(browser_type=99, product="Firefox/200"),  # type: ignore[arg-type]  # a newer node's
        node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE, product="Edg/1"),
    ]
    await entry.register(_node(browsers=browsers))
    edge = _create(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))
    assert (await entry.create(edge)).spec.browser_type == browser_pb2.BROWSER_TYPE_MSEDGE


async def test_health_and_reflection_need_no_credentials(entry: Entry) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
        entry.door.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
    )
    for service in ("", "browserfleet.session.v1.SessionService", "browserfleet.node.v1.NodeService"):
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(entry.door.channel)  # type: ignore[arg-type]  # likewise
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflection.ServerReflectionInfo(iter([ask]), timeout=10)  # type: ignore[operator]  # untyped
    names = {service.name async for answer in call for service in answer.list_services_response.service}
    assert {"browserfleet.session.v1.SessionService", "browserfleet.artifact.v1.ArtifactService"} <= names


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
