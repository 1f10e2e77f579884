"""Two replicas on a real Postgres for a machine of rules, and the levers that only a test has."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Coroutine
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks
from fleetkit.paging import MAX_PAGE_SIZE, PageRequest
from fleetkit.postgres import Pool, open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase
from session_api.control_plane import ControlPlane
from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed, NodeUnavailable
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import Node
from session_api.domain.organization import Limits, Organization
from session_api.domain.session import Session
from session_api.usecases.ports import Bells
from session_api.usecases.queries import SessionQuery
from tests.integration.session_api.fleet import EMPTY_TABLES, POLICY
from tests.integration.session_api.machine.model import ModelOrganization
from tests.support.fleet_builders import FACTS, Bell, SteppedClock
from tests.support.waiting import until

T = TypeVar("T")

_REPLICAS = 2
_SESSION_TIMES = (
    "create_time",
    "state_time",
    "queue_expire_time",
    "start_time",
    "expire_time",
    "active_time",
    "due_time",
)
_LEASES = {"occupancy": ("occupy_time", "expire_time"), "control": ("take_time", "expire_time")}


class Answer(StrEnum):
    """How nodes answer. HANGS: never, as when the process that asks dies."""

    DONE = "DONE"
    REFUSES = "REFUSES"
    HANGS = "HANGS"


class ScriptedNodes:
    """A NodeGateway that answers as it is told at that moment. Nodes that are `silent` do not answer."""

    def __init__(self) -> None:
        self.answer = Answer.DONE
        self.silent: set[NodeId] = set()
        # Calls that were never answered.
        self.hanging = 0

    async def start_browser(self, session: Session) -> BrowserFacts:
        await self._reach(session)
        if self.answer is Answer.REFUSES:
            raise BrowserStartFailed("The browser did not start.")
        return FACTS

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        await self._reach(session)

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        pass

    async def set_control(self, session: Session, *, generation: int, held: bool) -> None:
        pass

    async def _reach(self, session: Session) -> None:
        if session.allocation is not None and session.allocation.node_id in self.silent:
            raise NodeUnavailable("The node does not answer.")
        if self.answer is Answer.HANGS:
            self.hanging += 1
            await asyncio.Event().wait()


class World:
    """A block for all runs of a machine: the loop, and the connections of the replicas."""

    def __init__(self, dsn: str) -> None:
        # Nobody kills this server: commits need not wait for the disk.
        self._dsn = f"{dsn}?synchronous_commit=off"
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._pools: list[Pool] = []

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.__exit__(kind, error, trace)

    @property
    def pool(self) -> Pool:
        return self._pools[0]

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self._runner.run(work)

    async def _open(self) -> None:
        for _ in range(_REPLICAS):
            self._pools.append(await self._stack.enter_async_context(open_pool(Secret(self._dsn), max_size=6)))

    async def begin(self, organizations: list[ModelOrganization]) -> "Fleet":
        """Return an empty fleet with these organizations."""
        await self.pool.execute(EMPTY_TABLES)
        fleet = Fleet(self._pools)
        for organization in organizations:
            limits = Limits(max_open_sessions=organization.most_open)
            await fleet.plane(0).organizations.create(
                Organization(id=organization.id, limits=limits, weight=organization.weight)
            )
        return fleet


class Fleet:
    """The replicas of one run."""

    def __init__(self, pools: list[Pool]) -> None:
        self.pool = pools[0]
        self.nodes = ScriptedNodes()
        self.clock = SteppedClock()
        # One source: whose session was first is what the machine says, not the two replicas' random bits.
        ids = RandomIds()
        self._tasks = OwnedTasks(grace=timedelta(0))
        self._planes = [
            ControlPlane(
                database=PostgresDatabase(pool, ids),
                nodes=self.nodes,
                clock=self.clock,
                ids=ids,
                tasks=self._tasks,
                bells=Bells(relay=Bell(), queue=Bell()),
                chance=random.Random(1),
                policy=POLICY,
            )
            for pool in pools
        ]
        self._heard = 0
        self.sequences: dict[SessionId, int] = {}
        self.announced: dict[SessionId, str] = {}

    def plane(self, replica: int) -> ControlPlane:
        return self._planes[replica]

    async def end(self) -> None:
        """Forget what hangs."""
        await self._tasks.__aexit__()

    async def until_it_hangs(self, call: Awaitable[object], *, then: Answer = Answer.HANGS) -> None:
        """Make a call, and leave it when no node answers it; nodes answer as `then` says from that moment."""
        hanging = self.nodes.hanging
        calling = asyncio.ensure_future(call)
        await until(lambda: calling.done() or self.nodes.hanging > hanging)
        if calling.done():
            calling.result()
        self.nodes.answer = then
        calling.cancel()
        await asyncio.wait([calling])

    async def pass_time(self, seconds: int, *, silent: list[NodeId], is_watched: bool) -> None:
        """Move what is stored into the past: nodes that are not `silent` have reported all the time."""
        span = timedelta(seconds=seconds)
        times = ", ".join(f"{name} = {name} - $1::interval" for name in _SESSION_TIMES)
        leases = ", ".join(_earlier(column, names) for column, names in _LEASES.items())
        seen = "" if is_watched else ", seen = seen - $1::interval"
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"UPDATE fleet.session SET {times}, {leases} WHERE end_time IS NULL", span)
            await connection.execute(
                "UPDATE fleet.node SET drain_time = drain_time - $1::interval,"
                " heartbeat_time = CASE WHEN id = ANY ($2) OR state = 'LOST' THEN heartbeat_time - $1::interval"
                " ELSE heartbeat_time END",
                span,
                silent,
            )
            await connection.execute(f"UPDATE fleet.node_watch SET since = since - $1::interval{seen}", span)
        self.clock.step(span)

    async def rows(self) -> tuple[dict[SessionId, Session], dict[NodeId, Node], datetime]:
        """Return everything that is stored, and the present instant."""
        async with PostgresDatabase(self.pool, RandomIds()).transaction() as tx:
            nodes, now = await tx.nodes.all(), await tx.now()
            sessions = await tx.sessions.page(SessionQuery(), PageRequest(size=MAX_PAGE_SIZE))
        return {session.id: session for session in sessions.items}, {node.id: node for node in nodes}, now

    async def hear(self) -> None:
        """Take in what was announced since the last time. Fails where a session's numbers have a gap."""
        rows = await self.pool.fetch(
            "SELECT id, payload FROM fleet.outbox WHERE id > $1 AND subject LIKE 'fleet.v1.session.%' ORDER BY id",
            self._heard,
        )
        for row in rows:
            self._heard = row["id"]
            event = session_event_pb2.SessionEvent.FromString(row["payload"])
            session_id = SessionId(event.session_id)
            last = self.sequences.get(session_id, 0)
            assert event.sequence == last + 1, f"{session_id}: {event.type} is number {event.sequence} after {last}"
            self.sequences[session_id] = event.sequence
            self.announced[session_id] = session_pb2.Session.State.Name(event.state).removeprefix("STATE_")


def _earlier(column: str, names: tuple[str, ...]) -> str:
    moved = column
    for name in names:
        instant = f"to_jsonb((({column} ->> '{name}')::timestamptz - $1::interval))"
        moved = f"jsonb_set({moved}, '{{{name}}}', COALESCE({instant}, 'null'::jsonb))"
    return f"{column} = CASE WHEN {column} IS NOT NULL THEN {moved} END"
