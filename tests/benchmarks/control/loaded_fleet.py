"""The fleet under measurement, with its drivers: what every phase of a run works with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import psutil

from tests.benchmarks.control.options import LoadOptions
from tests.benchmarks.control.orders import Close, Create, Join
from tests.benchmarks.control.pipe import Driver, driver
from tests.benchmarks.control.readings import Reading, read, wait_for_quiet
from tests.benchmarks.control.servers import ControlServers
from tests.benchmarks.control.timings import Timings

SESSION_API, REAPER, POSTGRES, NATS, DRIVERS = "session-api", "reaper", "postgres", "nats", "drivers"
# Enough to keep every part busy; far fewer than would only queue.
AT_ONCE = 32
_FILLING = timedelta(minutes=10)
_DRAINING = timedelta(minutes=5)
_POLL_SECONDS = 0.02


class LoadFailed(Exception):
    """The load could not be brought up; the figures of such a run say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFleet:
    """Nodes that play, a caller, and the processes between them."""

    options: LoadOptions
    servers: ControlServers
    nodes: Driver
    caller: Driver
    database: "asyncpg.Connection[asyncpg.Record]"

    @property
    def window(self) -> timedelta:
        return self.options.window

    @property
    def session_api(self) -> list[psutil.Process]:
        return [psutil.Process(self.servers.pid(name)) for name in self.servers.replica_names]

    @property
    def reaper(self) -> psutil.Process:
        return psutil.Process(self.servers.pid(REAPER))

    def read(self) -> Reading:
        """Read the processor time of every part."""
        return read(
            {
                SESSION_API: self.session_api,
                REAPER: [self.reaper],
                POSTGRES: [psutil.Process(self.servers.pid(POSTGRES))],
                NATS: [psutil.Process(self.servers.pid(NATS))],
                DRIVERS: [self.nodes.process, self.caller.process],
            }
        )

    async def have_nodes(self, count: int) -> None:
        """Let nodes join until there are `count`."""
        joined = await self.nodes.ask(Join(count=count), int)
        if joined < count:
            raise LoadFailed(f"{joined} of {count} nodes joined")

    async def have_sessions(self, count: int) -> Timings:
        """Create until `count` sessions are open, as fast as it goes. Raises LoadFailed when one fails."""
        missing = count - await self.open_sessions()
        filling = await self.caller.ask(
            Create(at_once=AT_ONCE, within=_FILLING, total=missing), Timings, within=2 * _FILLING
        )
        if filling.count < missing:
            raise LoadFailed(f"{filling.count} of {missing} sessions were created: {filling.failures}")
        return filling

    async def close_down_to(self, count: int) -> Timings:
        """Close the newest sessions until `count` are left. Raises LoadFailed when one cannot be closed."""
        closing = await self.caller.ask(Close(left=count, at_once=AT_ONCE), Timings, within=2 * _FILLING)
        if closing.failures:
            raise LoadFailed(f"sessions could not be closed: {closing.failures}")
        return closing

    async def quiet(self) -> None:
        """Wait, not for ever, until other programs of this machine are done."""
        await wait_for_quiet(self.options.patience)

    async def rest(self, span: timedelta | None = None) -> None:
        """Let nothing happen but heartbeats, for a window unless told otherwise."""
        await asyncio.sleep((span or self.window).total_seconds())

    async def open_sessions(self) -> int:
        return await self.count("SELECT count(*) FROM fleet.session WHERE end_time IS NULL")

    async def drained(self) -> timedelta:
        """Wait until every event is on NATS; return how long that took. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(_DRAINING.total_seconds()):
            while await self.count("SELECT count(*) FROM fleet.outbox"):
                await asyncio.sleep(_POLL_SECONDS)
        return timedelta(seconds=loop.time() - began)

    async def waiting_events(self) -> int:
        return await self.count("SELECT count(*) FROM fleet.outbox")

    async def count(self, query: str) -> int:
        count: int = await self.database.fetchval(query)
        return count


@contextlib.asynccontextmanager
async def loaded_fleet(options: LoadOptions, servers: ControlServers) -> AsyncIterator[LoadedFleet]:
    """Run the drivers within the block; there are no nodes and no sessions yet."""
    key_of, addresses = servers.plan.state.api_key, servers.addresses
    size = (str(options.slots), str(options.nodes))
    async with (
        driver("tests.benchmarks.control.played_nodes", str(key_of("node")), *size, *addresses) as nodes,
        driver("tests.benchmarks.control.caller", str(key_of("member")), *addresses) as caller,
    ):
        database = await asyncpg.connect(servers.plan.postgres.dsn())
        try:
            yield LoadedFleet(options=options, servers=servers, nodes=nodes, caller=caller, database=database)
        finally:
            await database.close()
