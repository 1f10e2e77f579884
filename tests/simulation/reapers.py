"""Reapers: the service's own passes and its own handling of messages, over the simulated network and bus."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fleetkit.verdicts import Verdict
from reaper.due_sessions import DueSessions
from reaper.policy import SessionId
from reaper.sweeper import NodeSweeper, Sweeper, SweepLimits, until_answered
from tests.simulation.bus_model import Consumer
from tests.simulation.fleet import Fleet, NodesOfFleet, SessionsOverNetwork
from tests.simulation.process import Host, Process
from tests.simulation.surroundings import Surroundings

_SWEEP_SECONDS = 2.0
_PAUSE = timedelta(seconds=1)


class Reaper:
    """A place where a reaper runs, one life after the other."""

    def __init__(self, around: Surroundings, fleet: Fleet, name: str) -> None:
        self.host = Host(name)
        self.process: Process | None = None
        self._around = around
        self._fleet = fleet

    def boot(self) -> None:
        if self.process is not None and self.process.alive:
            return
        self.process = process = Process(self._around.loop, self.host, self._around.verdicts.failed)
        sessions = SessionsOverNetwork(self._fleet, process)
        due = DueSessions(sessions)
        sweep_sessions = until_answered(Sweeper(sessions=sessions, limits=SweepLimits()).sweep, pause=_PAUSE)
        sweep_nodes = until_answered(NodeSweeper(NodesOfFleet(self._fleet, process)).sweep, pause=_PAUSE)

        async def sweep() -> None:
            # A pass that would find nothing is spared.
            if self._around.database.has_due():
                await sweep_sessions()

        async def handle(session_id: SessionId, deliveries: int) -> Verdict:
            return await due.handle(session_id, deliveries=deliveries)

        _ = process.spawn(self._repeat(process, sweep, _SWEEP_SECONDS))
        _ = process.spawn(self._repeat(process, sweep_nodes, self._around.plan.nodes_interval))
        self._around.bus.consumers = [known for known in self._around.bus.consumers if known.process.alive]
        self._around.bus.consumers.append(Consumer(process=process, handle=handle))

    async def _repeat(self, process: Process, sweep: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await sweep()
            await asyncio.sleep(seconds * (0.9 + 0.2 * self._around.chance.random()))
            await process.step()
