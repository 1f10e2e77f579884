"""Two sockets joined into one: what passes through the edge, and how either side leaves."""

import asyncio
import contextlib
import json
from dataclasses import replace
from http import HTTPStatus

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fleetkit.clock import SystemClock
from fleetkit.tokens import TokenVerifier
from local_stack.ports import LOOPBACK
from session_api.edge.app import edge_app, serving_edge
from session_api.edge.door import AttachDoor
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attaching
from tests.integration.session_api.edge import MIB, Edge, Node, Scenario, on_uvloop
from tests.support.fleet_builders import SteppedClock, a_session, an_allocation
from tests.support.fleet_memory import MemoryDatabase
from tests.support.keys import the_signer
from tests.support.waiting import until


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
    message = bytes(range(256)) * (16 * MIB // 256)
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
            assert len(await client.recv()) == MIB
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
    door = AttachDoor(access=Access(database=database, clock=SystemClock()), attaching=attaching)
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


@pytest.mark.parametrize(
    "scenario",
    [
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
def test_it_is_the_same_on_uvloop(scenario: Scenario) -> None:
    on_uvloop(scenario)
