"""Bad input at each entry of a running fleet: the right code, a machine-readable reason, and the server goes on."""

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration

from browserfleet.browser.v1 import browser_pb2
from browserfleet.session.v1 import session_service_pb2
from fleetkit.rpc.client import bearer
from fleetkit.rpc.status import from_rpc_error
from tests.support.stack import RunningStack

_ABSENT = "pbs_00000000000000000000000000"


def _create(**fields: object) -> session_service_pb2.CreateSessionRequest:
    return session_service_pb2.CreateSessionRequest(**fields)  # type: ignore[arg-type]  # a table of requests


_CREATES = {
    "a timeout of 4 minutes": _create(timeout=Duration(seconds=240)),
    "a timeout of 1441 minutes": _create(timeout=Duration(seconds=86460)),
    "a timeout of half a minute more": _create(timeout=Duration(seconds=330)),
    "a negative timeout": _create(timeout=Duration(seconds=-300)),
    "an unknown browser type": _create(spec=browser_pb2.BrowserSpec(browser_type=99)),  # type: ignore[arg-type]  # on purpose
    "a request_id of 129 characters": _create(request_id="x" * 129),
    "a request_id with a blank": _create(request_id="a b"),
}


@pytest.mark.parametrize("what", _CREATES)
async def test_create_refuses(stack: RunningStack, what: str) -> None:
    async with stack.caller() as caller:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.sessions.CreateSession(_CREATES[what], metadata=caller.metadata)
        error = from_rpc_error(refused.value)
        assert (refused.value.code(), error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_a_browser_that_no_node_has_is_refused_at_once(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        request = _create(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.sessions.CreateSession(request, metadata=caller.metadata)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert from_rpc_error(refused.value).reason == "NO_CAPABLE_NODE"


async def test_an_unknown_session_and_another_organizations_look_the_same(stack: RunningStack) -> None:
    stranger = await stack.key("o_stranger")
    async with stack.caller() as owner, stack.caller(stranger) as other:
        session = await owner.create()
        answers = []
        for session_id in (_ABSENT, session.id):
            for call in (other.get, other.close):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(session_id)
                error = from_rpc_error(refused.value)
                answers.append((refused.value.code(), error.reason, error.message, tuple(error.metadata)))
        assert set(answers) == {(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", "There is no such session.", ())}
        await owner.close(session.id)


@pytest.mark.parametrize(
    "session_id", ["", "pbs_1", "bp_00000000000000000000000000", "' OR 1=1", "../x", "x" * 100_000]
)
async def test_a_session_id_of_the_wrong_form_is_refused(stack: RunningStack, session_id: str) -> None:
    async with stack.caller() as caller:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.get(session_id)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "x" * 1000 not in (refused.value.details() or "")


@pytest.mark.parametrize("key", ["", "bf_wrong", "Bearer", "' OR 1=1 --", "k" * 5000])
async def test_a_wrong_key_is_unauthenticated_everywhere(stack: RunningStack, key: str) -> None:
    async with stack.caller() as caller, httpx.AsyncClient() as http:
        metadata = bearer(key) if key else ()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.sessions.ListSessions(session_service_pb2.ListSessionsRequest(), metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert from_rpc_error(refused.value).reason == "CREDENTIALS_INVALID"
        headers = {"x-api-key": key} if key else {}
        answer = await http.get(f"{stack.local.url}/attach/{_ABSENT}/json/version", headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "CREDENTIALS_INVALID")


async def test_a_members_key_neither_reaps_nor_reports_as_a_node(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.sessions.ReapSession(
                session_service_pb2.ReapSessionRequest(session_id=_ABSENT), metadata=caller.metadata
            )
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert from_rpc_error(refused.value).reason == "SCOPE_MISSING"


async def test_attaching_is_refused_without_good_credentials(stack: RunningStack) -> None:
    stranger = await stack.key("o_stranger")
    async with stack.caller() as caller, httpx.AsyncClient() as http:
        session = await caller.create()
        other = await caller.create()
        token = session.attach.edge_url.partition("token=")[2]
        upgrade = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        edge = f"{stack.local.url}/attach"
        node = other.attach.direct_url.partition("?")[0].replace("ws://", "http://")
        cases = [
            (f"{edge}/{session.id}", {}, 401),
            (f"{edge}/{session.id}?token=x", {}, 401),
            (f"{edge}/{other.id}?token={token}", {}, 401),
            (f"{edge}/{session.id}", {"x-api-key": stranger}, 404),
            (f"{edge}/{_ABSENT}", {"x-api-key": caller.key}, 404),
            (f"{edge}/../{session.id}", {"x-api-key": caller.key}, 404),
            (node, {}, 401),
            (f"{node}?token={token}", {}, 401),
        ]
        for url, headers, status in cases:
            answer = await http.get(url, headers=upgrade | headers)
            assert answer.status_code == status, (url.partition("?")[0], answer.text)
        await caller.close(session.id)
        gone = await http.get(f"{edge}/{session.id}", headers=upgrade | {"x-api-key": caller.key})
        assert (gone.status_code, gone.json()["error"]["metadata"]["close_reason"]) == (410, "USER_REQUESTED")
        assert (await http.get(f"{edge}/{session.id}?token={token}", headers=upgrade)).status_code == 410
        await caller.close(other.id)


async def test_a_closed_session_is_not_extended_and_closes_again_without_change(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        session = await caller.create()
        first = await caller.close(session.id)
        again = await caller.close(session.id)
        assert first.end_time == again.end_time
        request = session_service_pb2.ExtendSessionRequest(session_id=session.id, additional_time=Duration(seconds=600))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.sessions.ExtendSession(request, metadata=caller.metadata)
        error = from_rpc_error(refused.value)
        assert (refused.value.code(), error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_OPEN")
        assert error.metadata == {"state": "CLOSED", "close_reason": "USER_REQUESTED"}


async def test_the_same_request_id_makes_one_session_and_another_body_is_refused(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        first = await caller.create(request_id="once", minutes=5)
        again = await caller.create(request_id="once", minutes=5)
        assert first.id == again.id
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.create(request_id="once", minutes=6)
        assert from_rpc_error(refused.value).reason == "REQUEST_ID_REUSED"
        await caller.close(first.id)
