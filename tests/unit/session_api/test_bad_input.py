"""The front door against the bad-input matrix: exact codes and reasons."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.artifact.v1 import artifact_service_pb2
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_service_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.client import bearer
from tests.support.fleet_builders import a_session_id
from tests.unit.session_api.entry import Entry, a_creation, a_list, a_registration, filtered, lasting, reason_of

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
    "a members key does not register nodes": (lambda e: e.register(a_registration(), metadata=e.member), _SCOPE),
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
        lambda e: e.list(a_list(page_token="x" * (4 * 1024 * 1024 + 1))),
        ("RESOURCE_EXHAUSTED", None),
    ),
    "an unknown method is refused": (lambda e: e.raw(f"{_GET}s", b""), ("UNIMPLEMENTED", None)),
    "an unknown service is refused": (lambda e: e.raw("/nobody/Knows", b""), ("UNIMPLEMENTED", None)),
    "text that is not UTF-8 is refused": (lambda e: e.raw(_GET, b"\x0a\x02\xc3\x28"), _INVALID),
    "bytes that are no message are refused": (lambda e: e.raw(_GET, b"\xff\xff\xff"), _INVALID),
    # 7: lifetimes
    "a timeout of 0 is refused": (lambda e: e.create(lasting(0)), _INVALID),
    "a timeout of minus 1 is refused": (lambda e: e.create(lasting(-1)), _INVALID),
    "a timeout of 4 minutes is refused": (lambda e: e.create(lasting(4)), _INVALID),
    "a timeout of 1441 minutes is refused": (lambda e: e.create(lasting(1441)), _INVALID),
    "a timeout of five and a half minutes is refused": (lambda e: e.create(lasting(5.5)), _INVALID),
    "a timeout of 2^63 seconds is refused": (
        lambda e: e.create(a_creation(timeout=Duration(seconds=2**63 - 1))),
        _INVALID,
    ),
    "a timeout with wrong nanoseconds is refused": (
        lambda e: e.create(a_creation(timeout=Duration(seconds=600, nanos=-1))),
        _INVALID,
    ),
    # 8, 9: browsers
    "an unknown browser type is refused": (
        lambda e: e.create(a_creation(spec=browser_pb2.BrowserSpec(browser_type=99))),  # type: ignore[arg-type]  # wrong
        _INVALID,
    ),
    "a browser that no node has is refused": (
        lambda e: e.create(a_creation(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))),
        ("FAILED_PRECONDITION", "NO_CAPABLE_NODE"),
    ),
    # 16: idempotency keys
    "a request ID of 129 characters is refused": (lambda e: e.create(a_creation(request_id="x" * 129)), _INVALID),
    "a request ID with a blank is refused": (lambda e: e.create(a_creation(request_id="a b")), _INVALID),
    "a request ID with a NUL is refused": (lambda e: e.create(a_creation(request_id="a\0")), _INVALID),
    "a request ID that is not ASCII is refused": (lambda e: e.create(a_creation(request_id="ä")), _INVALID),
    "a request ID that ends its line is refused": (lambda e: e.create(a_creation(request_id="a\n")), _INVALID),
    "a request ID of another request is refused": (
        lambda e: e.create(a_creation(request_id="taken", timeout=Duration(seconds=600))),
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
    "a page of minus 1 is refused": (lambda e: e.list(a_list(page_size=-1)), _INVALID),
    "a forged page token is refused": (
        lambda e: e.list(a_list(page_token="Zm9yZ2Vk")),
        ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
    ),
    "a page token of 1025 characters is refused": (lambda e: e.list(a_list(page_token="x" * 1025)), _INVALID),
    "an unknown state is refused": (lambda e: e.list(filtered(states=[99])), _INVALID),
    "an instant after the year 9999 is refused": (
        lambda e: e.list(filtered(expire_before=Timestamp(seconds=2**62))),
        _INVALID,
    ),
    # 25: nodes
    "a node without slots is refused": (lambda e: e.register(a_registration(slots=0)), _INVALID),
    "a node with minus 1 slots is refused": (lambda e: e.register(a_registration(slots=-1)), _INVALID),
    "a node with a million slots is refused": (lambda e: e.register(a_registration(slots=10**6)), _INVALID),
    "a node without browsers is refused": (lambda e: e.register(a_registration(browsers=[])), _INVALID),
    "a node with a name in capitals is refused": (lambda e: e.register(a_registration(name="Node")), _INVALID),
    "a node with an attach address that is no WebSocket is refused": (
        lambda e: e.register(a_registration(attach_url="http://127.0.0.1:2")),
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


@pytest.mark.parametrize("sentence", list(_BAD_INPUT))
async def test_bad_input(entry: Entry, sentence: str) -> None:
    attempt, (code, reason) = _BAD_INPUT[sentence]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await attempt(entry)
    assert refusal.value.code().name == code
    assert reason_of(refusal.value) == reason
    # The server goes on, and nothing changed.
    assert (await entry.get(entry.running)).state == session_pb2.Session.STATE_RUNNING


async def test_absent_and_foreign_sessions_are_told_apart_by_nothing(entry: Entry) -> None:
    refusals = []
    for session_id in (entry.running, a_session_id()):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await entry.get(session_id, metadata=entry.stranger)
        refusals.append((refusal.value.code(), refusal.value.details(), refusal.value.trailing_metadata()))
    assert refusals[0] == refusals[1]
