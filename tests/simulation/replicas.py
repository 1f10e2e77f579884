"""Replicas of session-api: each life is a ControlPlane with its loops, on the ports of the simulation."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TypeVar

from fleetkit.errors import DeadlineExceeded, FleetError, Unavailable
from fleetkit.lifecycle import OwnedTasks
from session_api.control_plane import ControlPlane, ControlPolicy
from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed, NodeUnavailable
from session_api.domain.session import Session
from session_api.usecases.admission import QueuePolicy
from session_api.usecases.ports import Bells
from tests.simulation.clocks import CountedIds, SkewedClock
from tests.simulation.connection import Connection
from tests.simulation.node_model import NodeModel
from tests.simulation.process import Host, Process
from tests.simulation.surroundings import Surroundings

T = TypeVar("T")

_POLICY = ControlPolicy(token_secret=b"simulated", queue=QueuePolicy(timeout=timedelta(seconds=20)))
# A third of the service's own, so that a schedule sees a start given up.
_START_SECONDS = 13.0
_DISPATCH_SECONDS = 2.0
_RELAY_SECONDS = 1.0
_RELAYED_AT_ONCE = 50
# Twenty times the service's own: a poll costs as much here as anything else does.
_HUB_INTERVAL = timedelta(seconds=2)


class ListenersInOrder(dict[T, None]):
    """Stands in for a set, whose order depends on addresses in memory and would differ between runs."""

    def add(self, listener: T) -> None:
        self[listener] = None

    def discard(self, listener: T) -> None:
        self.pop(listener, None)


class JudgedTasks(OwnedTasks):
    """Owned work whose faults are reported."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = super().start(work)
        task.add_done_callback(self._process.judge)
        return task


class NodesOverNetwork:
    """See NodeGateway."""

    def __init__(self, around: Surroundings, process: Process) -> None:
        self._network = around.network
        self._process = process
        self._machines = around.machines

    async def start_browser(self, session: Session) -> BrowserFacts:
        async def start(node: NodeModel) -> BrowserFacts:
            return await node.browsers.start(session.id, session.epoch, session.timeout)

        return await self._call(session, start, within=_START_SECONDS)

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        await self._call(session, lambda node: node.browsers.stop(session.id, session.epoch), within=15.0)

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        await self._call(
            session, lambda node: node.browsers.set_deadline(session.id, session.epoch, remaining), within=5.0
        )

    async def set_control(self, session: Session, *, generation: int, held: bool) -> None:
        await self._call(
            session,
            lambda node: node.browsers.set_control(session.id, session.epoch, generation, held=held),
            within=5.0,
        )

    async def _call(
        self, session: Session, work: Callable[[NodeModel], Coroutine[object, object, T]], *, within: float
    ) -> T:
        if session.allocation is None:
            raise ValueError("the session was not allocated to a node")
        node = self._machines[session.allocation.node_address].node
        try:
            return await self._network.call(
                self._process, node.process if node else None, lambda: work(_there(node)), within=within
            )
        except BrowserStartFailed:
            raise
        except (Unavailable, DeadlineExceeded) as error:
            raise NodeUnavailable("The node does not answer.") from error


def _there(node: NodeModel | None) -> NodeModel:
    if node is None:
        raise Unavailable("Nobody listens.")
    return node


class ReplicaLife:
    """One life of a replica."""

    def __init__(self, around: Surroundings, host: Host, skew: timedelta) -> None:
        self.process = Process(around.loop, host, around.verdicts.failed)
        self.clock = SkewedClock(around.clock, skew)
        self._around = around
        self._relay_bell, self._queue_bell = asyncio.Event(), asyncio.Event()
        self._connection = Connection(around.database, self.process)
        self.plane = ControlPlane(
            database=self._connection,
            nodes=NodesOverNetwork(around, self.process),
            clock=self.clock,
            ids=CountedIds(self.clock, around.numbers),
            tasks=JudgedTasks(self.process),
            bells=Bells(relay=self._relay_bell, queue=self._queue_bell),
            chance=around.chance,
            policy=_POLICY,
        )
        self.plane.hub._interval = _HUB_INTERVAL
        self.plane.hub._listeners = ListenersInOrder()  # type: ignore[assignment]  # does what is asked of the set
        for loop in (self.plane.hub.run(), self._dispatch(), self._relay()):
            _ = self.process.spawn(loop)

    async def _dispatch(self) -> None:
        database = self._around.database
        while True:
            if database.queue_length:
                with contextlib.suppress(FleetError):
                    await self.plane.dispatching.dispatch()
            await self._rest(self._queue_bell, _DISPATCH_SECONDS, has_work=lambda: database.queue_length > 0)

    async def _relay(self) -> None:
        database = self._around.database
        while True:
            self._relay_bell.clear()
            try:
                count = await self._relay_once()
            except FleetError:
                await asyncio.sleep(_RELAY_SECONDS)
                continue
            if count == 0:
                await self._rest(self._relay_bell, _RELAY_SECONDS, has_work=lambda: database.outbox_length > 0)

    async def _relay_once(self) -> int:
        """Publish what is oldest in the outbox, then forget it; one replica at a time."""
        database = self._around.database
        if not database.outbox_length:
            return 0
        await self._connection.reach()
        if not database.lock_relay(self.process):
            return 0
        try:
            news = database.outbox[database.relayed : database.relayed + _RELAYED_AT_ONCE]
            for message in news:
                await self._around.bus.publish(self.process, message)
            await self._connection.reach()
            database.forget_relayed(self.process, len(news))
        finally:
            database.unlock_relay(self.process)
        return len(news)

    async def _rest(self, bell: asyncio.Event, seconds: float, *, has_work: Callable[[], bool]) -> None:
        """Wait for a bell or for the next pass. Passes that would find nothing to do are spared."""
        if has_work():
            await self._around.loop.ring(bell, within=seconds)
        else:
            self._around.database.await_work(has_work, bell, within=seconds)
            await bell.wait()
        await self.process.step()
        bell.clear()


class Replica:
    """A place where session-api runs, one life after the other."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self.host = Host(name)
        self.life: ReplicaLife | None = None
        self.skew = timedelta(0)
        self._around = around

    def boot(self) -> None:
        if self.life is None or not self.life.process.alive:
            self.life = ReplicaLife(self._around, self.host, self.skew)

    def step_clock(self, skew: timedelta) -> None:
        self.skew = skew
        if self.life is not None:
            self.life.clock.skew = skew
