"""First figures of a fleet, each as a ratio to raw Chrome in the same run: `python -m tests.benchmarks`.

Writes `bench-output/fleet.json`. Rows whose ratio misses its goal are marked, and do not fail the run.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import psutil

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.rpc.client import bearer
from local_stack.options import StackOptions
from local_stack.stack import LocalStack
from tests.benchmarks.cdp import CdpClient, cdp_client, raw_chrome
from tests.benchmarks.report import Row, print_table, write_json

_STARTS = 8
_ROUNDS = 6
_TRIPS = 300
_LARGE_BYTES = 5_000_000
_IDLE_SESSIONS = 6
_CONTROL_PLANE = ("session-api", "artifact-store", "reaper", "node-1")
_MEGABYTE = 1e6
_MOST_MEGABYTES_A_SESSION = 1.5


class Fleet:
    """Creates and closes sessions, as an internal service does."""

    def __init__(self, stack: LocalStack, channel: grpc.aio.Channel) -> None:
        self._stub: session_service_pb2_grpc.SessionServiceAsyncStub = session_service_pb2_grpc.SessionServiceStub(
            channel
        )
        self._metadata = bearer(stack.api_key)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[session_pb2.Session]:
        session = await self._stub.CreateSession(session_service_pb2.CreateSessionRequest(), metadata=self._metadata)
        try:
            yield session
        finally:
            request = session_service_pb2.CloseSessionRequest(session_id=session.id)
            await self._stub.CloseSession(request, metadata=self._metadata)


async def measure_start(fleet: Fleet) -> list[Row]:
    """Time from the wish for a browser to its first CDP answer."""

    async def raw() -> None:
        async with raw_chrome() as (url, _), cdp_client(url) as client:
            await client.call("Browser.getVersion")
            clock.append(time.perf_counter())

    async def ours() -> None:
        async with fleet.session() as session, cdp_client(session.attach.direct_url) as client:
            await client.call("Browser.getVersion")
            clock.append(time.perf_counter())

    clock: list[float] = []
    times: dict[Callable[[], Awaitable[None]], list[float]] = {raw: [], ours: []}
    for turn in range(_STARTS):
        for start in (raw, ours) if turn % 2 else (ours, raw):
            began = time.perf_counter()
            await start()
            times[start].append(clock.pop() - began)
    floor, value = statistics.median(times[raw]), statistics.median(times[ours])
    return [Row(metric="create to attachable, cold", value=value, unit="s", floor=floor, goal=1.1)]


async def measure_trips(fleet: Fleet) -> list[Row]:
    """CDP round trips: to the node directly, and through the edge."""
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(raw_chrome())
        session = await stack.enter_async_context(fleet.session())
        clients: dict[str, CdpClient] = {}
        for name, address in (("raw", url), ("node", session.attach.direct_url), ("edge", session.attach.edge_url)):
            clients[name] = await stack.enter_async_context(cdp_client(address))
            await clients[name].attach_to_page()
        trips: dict[str, list[float]] = {name: [] for name in clients}
        large: dict[str, list[float]] = {name: [] for name in clients}
        for turn in range(_ROUNDS):
            for name in list(clients)[:: 1 if turn % 2 else -1]:
                trips[name] += [await _timed(clients[name], "1+1") for _ in range(_TRIPS)]
                large[name].append(await _timed(clients[name], f'"x".repeat({_LARGE_BYTES})'))
        rows = []
        for name, label, goal in (("node", "on the node", 1.2), ("edge", "through the edge", 1.35)):
            trip, floor = statistics.median(trips[name]), statistics.median(trips["raw"])
            rows.append(
                Row(metric=f"CDP round trip {label}", value=trip * 1e3, unit="ms", floor=floor * 1e3, goal=goal)
            )
        for name, label, goal in (("node", "on the node", 1.05), ("edge", "through the edge", 1.1)):
            took, floor = statistics.median(large[name]), statistics.median(large["raw"])
            rows.append(Row(metric=f"5 MB answer {label}", value=took * 1e3, unit="ms", floor=floor * 1e3, goal=goal))
        return rows


async def _timed(client: CdpClient, expression: str) -> float:
    began = time.perf_counter()
    await client.send("Runtime.evaluate", expression=expression, returnByValue=True)
    await client.receive_answer()
    return time.perf_counter() - began


async def measure_memory(fleet: Fleet, stack: LocalStack) -> list[Row]:
    """What an idle session adds to the control plane, and what all of it takes, beside a raw browser."""
    async with AsyncExitStack() as sessions:
        _, browser = await sessions.enter_async_context(raw_chrome())
        before = _control_plane(stack, _private_megabytes)
        for _ in range(_IDLE_SESSIONS):
            await sessions.enter_async_context(fleet.session())
        added = _control_plane(stack, _private_megabytes) - before
        total = _control_plane(stack, _megabytes)
        raw = sum(_megabytes(member) for member in [browser, *browser.children(recursive=True)])
    return [
        Row(
            metric="control plane per idle session",
            value=added / _IDLE_SESSIONS,
            unit="MB",
            floor=raw,
            goal=_MOST_MEGABYTES_A_SESSION / raw,
        ),
        Row(metric=f"control plane at {_IDLE_SESSIONS} sessions", value=total, unit="MB", floor=raw, goal=1.0),
    ]


def _control_plane(stack: LocalStack, measure: Callable[[psutil.Process], float]) -> float:
    return sum(measure(psutil.Process(stack.process(name).pid)) for name in _CONTROL_PLANE)


def _megabytes(process: psutil.Process) -> float:
    # Proportional: what several processes share is counted once.
    return float(process.memory_full_info().pss) / _MEGABYTE


def _private_megabytes(process: psutil.Process) -> float:
    # For growth: a process's share of common pages changes with how many others there are.
    return float(process.memory_full_info().uss) / _MEGABYTE


async def main() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        options = StackOptions(state_dir=Path(folder) / "stack", nodes=1, slots=_IDLE_SESSIONS + 2, warm_browsers=0)
        async with LocalStack(options) as stack, grpc.aio.insecure_channel(stack.grpc_address) as channel:
            fleet = Fleet(stack, channel)
            return [*await measure_start(fleet), *await measure_memory(fleet, stack), *await measure_trips(fleet)]


if __name__ == "__main__":
    rows = asyncio.run(main())
    print_table(rows)
    write_json(rows, Path("bench-output") / "fleet.json")
    sys.exit(0)
