"""The edge in front of a small node: discovery, who may attach, and two sockets joined into one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus

import httpx
import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response

from fleetkit.clock import SystemClock
from fleetkit.tokens import TokenVerifier
from local_stack.ports import LOOPBACK, PortBook
from session_api.domain.caller import Scope
from session_api.domain.session import CloseReason, Session, SessionState
from session_api.edge.app import edge_app, serving_edge
from session_api.edge.door import AttachDoor
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attaching
from tests.support.waiting import until
from tests.support.fleet_builders import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    SteppedClock,
    a_session,
    a_session_id,
    an_allocation,
)
from tests.support.fleet_memory import MemoryDatabase
from tests.support.keys import the_signer

_MIB = 2**20


@dataclass(slots=True)
class Node:
    """A node that sends back what it receives, or floods who asks for it; it keeps the handshakes."""

    url: str = ""
    handshakes: list[Request] = field(default_factory=list)
    open: int = 0
    flooded: int = 0
    refuses_with: HTTPStatus | None = None

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        return connection.respond(self.refuses_with, "no\n") if self.refuses_with else None

    async def talk(self, connection: ServerConnection) -> None:
        self.open += 1
        try:
            async for message in connection:
                if message == "flood":
                    for _ in range(128):
                        await connection.send(bytes(_MIB))
                        self.flooded += 1
                elif message == "leave":
                    await connection.close(1001, "The session has ended.")
                else:
                    await connection.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The edge, its node, a running session, and credentials."""

    address: str
    database: MemoryDatabase
    attaching: Attaching
    node: Node
    session: Session
    key: str
    foreign_key: str
    node_key: str

    @property
    def http(self) -> str:
        return f"http://{self.address}/attach/{self.session.id}/json/version"

    @property
    def ws(self) -> str:
        return f"ws://{self.address}/attach/{self.session.id}"

    def token(self, session: Session | None = None) -> str:
        endpoint = self.attaching.endpoint(session or self.session)
        assert endpoint is not None
        return endpoint.token

    def attach(self, **headers: str) -> connect:
        return connect(self.ws, additional_headers=headers or {"x-api-key": self.key}, max_size=None, max_queue=1)


@contextlib.asynccontextmanager
async def _a_node() -> AsyncIterator[Node]:
    node = Node()
    async with serve(node.talk, LOOPBACK, 0, process_request=node.admit, max_size=None, compression=None) as server:
        node.url = f"ws://{LOOPBACK}:{next(iter(server.sockets)).getsockname()[1]}"
        yield node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with _a_node() as node:
        yield node


@contextlib.asynccontextmanager
async def _an_edge(node: Node) -> AsyncIterator[Edge]:
    address = f"{LOOPBACK}:{PortBook().free('edge')}"
    database = MemoryDatabase(SteppedClock())
    access = Access(database=database)
    attaching = Attaching(database=database, signer=the_signer(), clock=SystemClock(), edge_url=f"http://{address}")
    session = a_session(allocation=replace(an_allocation(), attach_url=node.url))
    database.put(session)
    door = AttachDoor(access=access, attaching=attaching)

    async def ready() -> None:
        async with database.transaction():
            pass

    async with serving_edge(address, edge_app(door, ready), door):
        yield Edge(
            address=address,
            database=database,
            attaching=attaching,
            node=node,
            session=session,
            key=await access.create_key(organization_id=ORGANIZATION, scope=Scope.MEMBER),
            foreign_key=await access.create_key(organization_id=OTHER_ORGANIZATION, scope=Scope.MEMBER),
            node_key=await access.create_key(organization_id=ORGANIZATION, scope=Scope.NODE),
        )


@pytest.fixture
async def edge(node: Node) -> AsyncIterator[Edge]:
    async with _an_edge(node) as edge:
        yield edge


async def _get(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.get(url, headers=dict(headers or {}))


async def test_with_a_key_discovery_leads_back_to_the_edge(edge: Edge) -> None:
    answer = await _get(edge.http, {"x-api-key": edge.key})
    found = answer.json()
    assert found["Browser"] == "Chrome/150.0"
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.ws}?token=")
    assert answer.headers["cache-control"] == "no-store"
    async with connect(found["webSocketDebuggerUrl"]) as client:
        await client.send("hello")
        assert await client.recv() == "hello"


async def test_with_a_token_discovery_leads_to_the_node_itself(edge: Edge) -> None:
    found = (await _get(f"{edge.http}?token={edge.token()}")).json()
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.node.url}/attach/{edge.session.id}?token=")


async def test_whoever_sends_a_key_is_never_led_to_the_node(edge: Edge) -> None:
    found = (await _get(f"{edge.http}/?token={edge.token()}", {"x-api-key": edge.key})).json()
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.ws}?token=")


async def _refusal(edge: Edge, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Try to attach and to discover; return the status and the reason, which are the same for both."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers=dict(headers)):
            pass
    path, _, query = url.replace("ws://", "http://").partition("?")
    discovery = await _get(f"{path}/json/version" + (f"?{query}" if query else ""), headers)
    body = json.loads(refused.value.response.body or b"")
    assert (discovery.status_code, discovery.json()) == (refused.value.response.status_code, body)
    assert edge.node.handshakes == []
    return refused.value.response.status_code, body["error"]["reason"]


async def test_nobody_attaches_without_credentials(edge: Edge) -> None:
    assert await _refusal(edge, edge.ws, {}) == (401, "CREDENTIALS_INVALID")
    assert await _refusal(edge, edge.ws, {"x-api-key": "bf_wrong"}) == (401, "CREDENTIALS_INVALID")
    assert await _refusal(edge, edge.ws, {"x-api-key": ""}) == (401, "CREDENTIALS_INVALID")


async def test_a_nodes_key_does_not_attach(edge: Edge) -> None:
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.node_key}) == (403, "SCOPE_MISSING")


async def test_wrong_tokens_do_not_attach(edge: Edge) -> None:
    other = a_session()
    edge.database.put(other)
    expired = the_signer().sign(
        audience="attach", subject=edge.session.id, ttl=timedelta(seconds=-31), epoch="1", organization=ORGANIZATION
    )
    for token in ("", "x.y.z", "%00", expired, edge.token(other)):
        assert await _refusal(edge, f"{edge.ws}?token={token}", {}) == (401, "TOKEN_INVALID")


async def test_another_organizations_session_does_not_exist(edge: Edge) -> None:
    foreign = await _refusal(edge, edge.ws, {"x-api-key": edge.foreign_key})
    absent = await _refusal(edge, f"ws://{edge.address}/attach/{a_session_id()}", {"x-api-key": edge.key})
    assert foreign == absent == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("state", [SessionState.CLOSING, SessionState.CLOSED, SessionState.FAILED])
async def test_an_ended_session_is_gone_and_says_why(edge: Edge, state: SessionState) -> None:
    ended = a_session(state=state, session_id=edge.session.id, reason=CloseReason.TIMED_OUT)
    token = edge.token()
    edge.database.put(ended)
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.key}) == (410, "SESSION_NOT_OPEN")
    assert await _refusal(edge, f"{edge.ws}?token={token}", {}) == (410, "SESSION_NOT_OPEN")
    answer = (await _get(edge.http, {"x-api-key": edge.key})).json()["error"]
    assert answer["metadata"] == {"state": str(state), "close_reason": str(ended.close_reason)}
    assert ended.close_message in answer["message"]


async def test_a_session_that_is_still_starting_is_not_gone(edge: Edge) -> None:
    edge.database.put(a_session(state=SessionState.STARTING, session_id=edge.session.id))
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.key}) == (409, "SESSION_NOT_OPEN")


@pytest.mark.parametrize(
    "path", ["/", "/attach", "/attach/", "/attach/../x", "/attach/%00", "/attach//etc/passwd", "/x"]
)
async def test_other_paths_are_not_found_and_the_edge_goes_on(edge: Edge, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{edge.address}{path}", additional_headers={"x-api-key": edge.key}):
            pass
    assert refused.value.response.status_code == 404
    async with edge.attach() as client:
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_the_node_sees_its_own_token_and_nothing_of_the_clients(edge: Edge) -> None:
    headers = {"x-api-key": edge.key, "cookie": "a=b", "x-anything": "c", "user-agent": "test"}
    async with connect(f"{edge.ws}?other=1", additional_headers=headers, user_agent_header=None) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
        assert client.response is not None
        assert "sec-websocket-extensions" not in client.response.headers
    (seen,) = edge.node.handshakes
    assert seen.path == f"/attach/{edge.session.id}"
    names = {name.lower() for name in seen.headers}
    assert names.isdisjoint({"x-api-key", "cookie", "x-anything", "sec-websocket-extensions"})
    assert seen.headers["user-agent"] == "test"
    scheme, _, token = seen.headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    claims = TokenVerifier(the_signer().public_key_pem).verify(token, audience="attach")
    assert claims.subject == edge.session.id


async def test_a_nodes_refusal_reaches_the_client_as_it_is(edge: Edge) -> None:
    edge.node.refuses_with = HTTPStatus.TOO_MANY_REQUESTS
    with pytest.raises(InvalidStatus) as refused:
        async with edge.attach():
            pass
    assert refused.value.response.status_code == 429


async def test_a_node_that_is_not_there_is_unavailable(edge: Edge) -> None:
    edge.database.put(replace(edge.session, allocation=an_allocation()))
    with pytest.raises(InvalidStatus) as refused:
        async with edge.attach():
            pass
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["retry-after"] == "2"
    assert json.loads(refused.value.response.body or b"")["error"]["reason"] == "NODE_UNAVAILABLE"


async def test_big_messages_come_through_whole_both_ways(edge: Edge) -> None:
    message = bytes(range(256)) * (16 * _MIB // 256)
    async with edge.attach() as client:
        for _ in range(2):
            sending = asyncio.create_task(client.send(message))
            assert await client.recv() == message
            await sending


async def test_many_small_messages_keep_their_order(edge: Edge) -> None:
    async with edge.attach() as client:

        async def send() -> None:
            for number in range(2000):
                await client.send(str(number))

        sending = asyncio.create_task(send())
        assert [await client.recv() for _ in range(2000)] == [str(number) for number in range(2000)]
        await sending


async def _settled(node: Node) -> int:
    """Return how many messages the node could send, once it got no further for half a second."""
    async with asyncio.timeout(30):
        while True:
            before = node.flooded
            with contextlib.suppress(TimeoutError):
                await until(lambda: node.flooded > before, within=0.5)  # noqa: B023  # used up before the next round
            if before and node.flooded == before:
                return before


async def test_a_client_that_reads_slowly_slows_the_node_down(edge: Edge) -> None:
    async with edge.attach() as client:
        await client.send("flood")
        # What the kernel's buffers hold, and no more: the edge keeps next to nothing.
        assert await _settled(edge.node) < 32
        for _ in range(128):
            assert len(await client.recv()) == _MIB
        assert edge.node.flooded == 128


async def _attached(edge: Edge) -> ClientConnection:
    client = await edge.attach()
    await until(lambda: edge.node.open == 1)
    return client


async def test_a_client_that_leaves_is_gone_at_the_node(edge: Edge) -> None:
    client = await _attached(edge)
    await client.close()
    await until(lambda: edge.node.open == 0)


async def test_a_client_that_is_cut_off_is_gone_at_the_node(edge: Edge) -> None:
    client = await _attached(edge)
    client.transport.abort()
    await until(lambda: edge.node.open == 0)


async def test_a_client_that_is_cut_off_amid_a_flood_is_gone_at_the_node(edge: Edge) -> None:
    client = await _attached(edge)
    await client.send("flood")
    await _settled(edge.node)
    client.transport.abort()
    await until(lambda: edge.node.open == 0)


async def test_a_node_that_leaves_says_so_to_the_client(edge: Edge) -> None:
    async with edge.attach() as client:
        await client.send("leave")
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "The session has ended.")


async def test_two_clients_of_one_session_do_not_disturb_each_other(edge: Edge) -> None:
    async with edge.attach() as stays:
        async with edge.attach() as leaves:
            await leaves.send("a")
            assert await leaves.recv() == "a"
        await until(lambda: edge.node.open == 1)
        await stays.send("b")
        assert await stays.recv() == "b"


async def test_the_end_of_the_edge_cuts_clients_off_and_frees_its_port(node: Node) -> None:
    database = MemoryDatabase(SteppedClock())
    attaching = Attaching(database=database, signer=the_signer(), clock=SystemClock(), edge_url="http://edge.test")
    session = a_session(allocation=replace(an_allocation(), attach_url=node.url))
    database.put(session)
    door = AttachDoor(access=Access(database=database), attaching=attaching)
    endpoint = attaching.endpoint(session)
    assert endpoint is not None

    async def ready() -> None: ...

    async with serving_edge(f"{LOOPBACK}:0", edge_app(door, ready), door) as port:
        client = await connect(f"ws://{LOOPBACK}:{port}/attach/{session.id}?token={endpoint.token}")
        await until(lambda: node.open == 1)
        with pytest.raises(OSError, match=r"[Aa]ddress"):
            async with serving_edge(f"{LOOPBACK}:{port}", edge_app(door, ready), door):
                pass
    with pytest.raises(ConnectionClosed):
        await client.recv()
    await until(lambda: node.open == 0)
    with pytest.raises(OSError):
        await asyncio.open_connection(LOOPBACK, port)


async def test_the_edge_says_whether_it_lives_and_is_ready(edge: Edge) -> None:
    assert (await _get(f"http://{edge.address}/livez")).status_code == 200
    assert (await _get(f"http://{edge.address}/readyz")).status_code == 200


async def test_garbage_instead_of_a_request_ends_that_connection_only(edge: Edge) -> None:
    host, _, port = edge.address.rpartition(":")
    for garbage in (b"\x16\x03\x01\x02\x00" + bytes(64), b"GARBAGE\r\n\r\n", b"GET \r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
    assert (await _get(edge.http, {"x-api-key": edge.key})).status_code == 200


@pytest.mark.parametrize(
    "scenario",
    [
        test_with_a_key_discovery_leads_back_to_the_edge,
        test_nobody_attaches_without_credentials,
        test_big_messages_come_through_whole_both_ways,
        test_many_small_messages_keep_their_order,
        test_a_client_that_reads_slowly_slows_the_node_down,
        test_a_client_that_leaves_is_gone_at_the_node,
        test_a_client_that_is_cut_off_is_gone_at_the_node,
        test_a_client_that_is_cut_off_amid_a_flood_is_gone_at_the_node,
        test_a_node_that_leaves_says_so_to_the_client,
        test_a_node_that_is_not_there_is_unavailable,
    ],
)
def test_it_is_the_same_on_uvloop(scenario: Callable[[Edge], Coroutine[object, object, None]]) -> None:
    """Services run on uvloop, whose transports are of another make."""

    async def run() -> None:
        async with _a_node() as node, _an_edge(node) as edge:
            await scenario(edge)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
