"""Nodes that speak the whole node contract and start no browser: a driver process that plays any number of them."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2, browser_service_pb2_grpc, node_pb2, node_service_pb2_grpc
from browserfleet.node.v1.node_service_pb2 import HeartbeatRequest, RegisterNodeRequest, RegisterNodeResponse
from fleetkit.rpc.client import bearer
from fleetkit.rpc.context import Context
from local_stack.ports import LOOPBACK
from tests.benchmarks.control.orders import Beat, CountNodes, Join, NodeCensus
from tests.benchmarks.control.pipe import answer_orders, run_driver
from tests.benchmarks.control.timings import Timings, WrongAnswer, in_flight

_PRODUCT = "Chrome/156.0.0.0"
_CALL_SECONDS = 10.0
_AFTER_FAILURE_SECONDS = 1.0
_JOINING_AT_ONCE = 16


class PlayedNode:
    """One node: its own connection to session-api, an address of its own, and the browsers that it claims to run."""

    def __init__(self, *, name: str, address: str, slots: int, session_api: str, key: str) -> None:
        self._profile = RegisterNodeRequest(
            name=name,
            address=address,
            attach_url=f"ws://{address}",
            slots=slots,
            browsers=[node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_CHROME, product=_PRODUCT)],
        )
        # Else gRPC gives all of this process's nodes one connection.
        channel = grpc.aio.insecure_channel(session_api, options=[("grpc.use_local_subchannel_pool", 1)])
        self._fleet: node_service_pb2_grpc.NodeServiceAsyncStub = node_service_pb2_grpc.NodeServiceStub(channel)
        self._metadata = bearer(key)
        self._registration = RegisterNodeResponse()
        self.browsers: dict[str, int] = {}
        self.heartbeats = self.failed = self.fenced = 0

    @property
    def id(self) -> str:
        return self._registration.node_id

    async def register(self) -> None:
        self._registration = await self._fleet.RegisterNode(
            self._profile, metadata=self._metadata, timeout=_CALL_SECONDS
        )

    async def heartbeat(self) -> float:
        """Report what runs, stop what should not, and return the seconds until the next report."""
        reported = dict(self.browsers)
        request = HeartbeatRequest(
            node_id=self._registration.node_id,
            registration_id=self._registration.registration_id,
            running=[
                node_pb2.RunningBrowser(session_id=session_id, epoch=epoch) for session_id, epoch in reported.items()
            ],
            pressure=node_pb2.NodePressure(cpu=0.2, memory=0.3),
        )
        answer = await self._fleet.Heartbeat(request, metadata=self._metadata, timeout=_CALL_SECONDS)
        self.heartbeats += 1
        wanted = {(assignment.session_id, assignment.epoch) for assignment in answer.assignments}
        for session_id, epoch in reported.items():
            if (session_id, epoch) not in wanted and self.browsers.get(session_id) == epoch:
                del self.browsers[session_id]
        return answer.heartbeat_interval.ToTimedelta().total_seconds()

    async def live(self) -> None:
        """Report for ever, beginning at some moment of the first interval."""
        pause = random.uniform(0, self._registration.heartbeat_interval.ToTimedelta().total_seconds())
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await self.heartbeat()
            except grpc.aio.AioRpcError as error:
                self.failed += 1
                pause = _AFTER_FAILURE_SECONDS
                if error.code() is grpc.StatusCode.ABORTED:
                    await self._begin_anew()

    async def _begin_anew(self) -> None:
        self.fenced += 1
        self.browsers.clear()
        await self.register()


class PlayedNodes(browser_service_pb2_grpc.BrowserServiceServicer):
    """All nodes of this process, behind one server that listens once for each of them."""

    def __init__(self, *, session_api: Sequence[str], key: str, slots: int) -> None:
        self._session_api = session_api
        self._key = key
        self._slots = slots
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._ports: list[int] = []
        self._nodes: list[PlayedNode] = []
        self._by_id: dict[str, PlayedNode] = {}
        self._lives: list[asyncio.Task[None]] = []

    async def listen(self, most: int) -> None:
        browser_service_pb2_grpc.add_BrowserServiceServicer_to_server(self, self._server)
        self._ports = [self._server.add_insecure_port(f"{LOOPBACK}:0") for _ in range(most)]
        await self._server.start()

    async def handle(self, order: object) -> object:
        match order:
            case Join():
                return await self._join(order.count)
            case Beat():
                return await self._beat(order)
            case CountNodes():
                return self._census()
        raise ValueError(f"nodes do not know {order}")

    async def StartBrowser(
        self, request: browser_service_pb2.StartBrowserRequest, context: Context
    ) -> browser_pb2.Browser:
        self._called(context).browsers[request.session_id] = request.epoch
        return browser_pb2.Browser(
            session_id=request.session_id, epoch=request.epoch, product=_PRODUCT, user_agent=_PRODUCT, sandboxed=True
        )

    async def StopBrowser(self, request: browser_service_pb2.StopBrowserRequest, context: Context) -> Empty:
        browsers = self._called(context).browsers
        if browsers.get(request.session_id, request.epoch + 1) <= request.epoch:
            del browsers[request.session_id]
        return Empty()

    async def SetDeadline(self, request: browser_service_pb2.SetDeadlineRequest, context: Context) -> Empty:
        return Empty()

    async def SetControl(self, request: browser_service_pb2.SetControlRequest, context: Context) -> Empty:
        return Empty()

    def _called(self, context: Context) -> PlayedNode:
        """Return the node that a call's token is for. A node would verify it; here that would be the driver's cost."""
        metadata = dict(context.invocation_metadata() or ())
        claims = str(metadata["authorization"]).split(".")[1]
        audience: str = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["aud"]
        return self._by_id[audience.removeprefix("node:")]

    async def _join(self, count: int) -> int:
        room = asyncio.Semaphore(_JOINING_AT_ONCE)

        async def join(number: int) -> None:
            node = PlayedNode(
                name=f"played-{number}",
                address=f"{LOOPBACK}:{self._ports[number]}",
                slots=self._slots,
                session_api=self._session_api[number % len(self._session_api)],
                key=self._key,
            )
            async with room:
                await node.register()
            self._by_id[node.id] = node
            self._nodes.append(node)
            self._lives.append(asyncio.create_task(node.live()))

        async with asyncio.TaskGroup() as joining:
            for number in range(len(self._nodes), count):
                joining.create_task(join(number))
        return len(self._nodes)

    async def _beat(self, order: Beat) -> Timings:
        turns = itertools.cycle(self._nodes)

        async def beat() -> None:
            await next(turns).heartbeat()

        return await in_flight(beat, at_once=order.at_once, within=order.within)

    def _census(self) -> NodeCensus:
        for life in self._lives:
            if life.done():
                life.result()
                raise WrongAnswer("a node stopped reporting")
        return NodeCensus(
            browsers=frozenset(running for node in self._nodes for running in node.browsers.items()),
            heartbeats=sum(node.heartbeats for node in self._nodes),
            failed=sum(node.failed for node in self._nodes),
            fenced=sum(node.fenced for node in self._nodes),
        )


async def main(arguments: Sequence[str]) -> None:
    key_file, slots, most, *session_api = arguments
    key = await asyncio.to_thread(Path(key_file).read_text)
    nodes = PlayedNodes(session_api=session_api, key=key.strip(), slots=int(slots))
    await nodes.listen(int(most))
    await answer_orders(nodes.handle)


if __name__ == "__main__":
    run_driver(main)
