"""The edge in front of a small node."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import httpx
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from local_stack.ports import LOOPBACK, PortBook
from session_api.domain.caller import Scope
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Organization
from session_api.domain.session import Session
from session_api.edge.app import edge_app, serving_edge
from session_api.edge.door import AttachDoor
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attaching
from session_api.usecases.organizations import Organizations
from session_api.usecases.ports import Bells
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, SteppedClock, a_session, an_allocation
from tests.support.fleet_memory import MemoryDatabase
from tests.support.keys import the_signer

MIB = 2**20


@dataclass(slots=True)
class Node:
    """A node that sends back what it receives, or floods who asks for it; it keeps the handshakes."""

    url: str = ""
    handshakes: list[Request] = field(default_factory=list)
    open: int = 0
    flooded: int = 0
    refuses_with: HTTPStatus | None = None
    # What it says at `/json/list`.
    lists: str = "[]"

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        if request.path.endswith("/json/list"):
            return connection.respond(self.refuses_with or HTTPStatus.OK, self.lists)
        return connection.respond(self.refuses_with, "no\n") if self.refuses_with else None

    async def talk(self, connection: ServerConnection) -> None:
        self.open += 1
        try:
            async for message in connection:
                if message == "flood":
                    for _ in range(128):
                        await connection.send(bytes(MIB))
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
async def a_node() -> AsyncIterator[Node]:
    node = Node()
    async with serve(node.talk, LOOPBACK, 0, process_request=node.admit, max_size=None, compression=None) as server:
        node.url = f"ws://{LOOPBACK}:{next(iter(server.sockets)).getsockname()[1]}"
        yield node


@contextlib.asynccontextmanager
async def an_edge(node: Node) -> AsyncIterator[Edge]:
    address = f"{LOOPBACK}:{PortBook().free('edge')}"
    database, clock = MemoryDatabase(SteppedClock()), SystemClock()
    access = Access(database=database, clock=clock)
    attaching = Attaching(database=database, signer=the_signer(), clock=clock, edge_url=f"http://{address}")
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
            key=await a_key(database, access, ORGANIZATION, Scope.MEMBER),
            foreign_key=await a_key(database, access, OTHER_ORGANIZATION, Scope.MEMBER),
            node_key=await a_key(database, access, ORGANIZATION, Scope.NODE),
        )


async def a_key(database: MemoryDatabase, access: Access, organization_id: OrganizationId, scope: Scope) -> str:
    bells = Bells(relay=asyncio.Event(), queue=asyncio.Event())
    organizations = Organizations(database=database, ids=RandomIds(), access=access, bells=bells)
    organization = Organization(id=organization_id)
    return (await organizations.provide_key(organization, scope=scope, display_name="for a test")).secret


async def get(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.get(url, headers=dict(headers or {}))


Scenario = Callable[[Edge], Coroutine[object, object, None]]


def on_uvloop(scenario: Scenario) -> None:
    """Run a test of the edge on uvloop, whose transports are of another make; services run on it."""

    async def run() -> None:
        async with a_node() as node, an_edge(node) as edge:
            await scenario(edge)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
