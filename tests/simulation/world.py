"""Who takes part in a schedule, and how it goes: everybody acts, all is mended, everything comes to rest."""

import asyncio
from collections.abc import Callable

from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.organization import Organization
from tests.simulation.browser_invariants import BrowserInvariants
from tests.simulation.callers import CallingScript
from tests.simulation.faults import Nemesis
from tests.simulation.fleet import Fleet, door_of
from tests.simulation.invariants import Invariants
from tests.simulation.loop import Stalled
from tests.simulation.machines import Machine
from tests.simulation.operators import Operator
from tests.simulation.plan import ORGANIZATIONS, Kind
from tests.simulation.process import Host, Process
from tests.simulation.reapers import Reaper
from tests.simulation.replicas import Replica
from tests.simulation.session_invariants import SessionInvariants
from tests.simulation.settling import Settling
from tests.simulation.surroundings import surroundings_of
from tests.simulation.watchers import Watcher

# When everything is mended the fleet gets so long to come to rest, and must stay at rest for longer than a heartbeat.
_SETTLES_WITHIN = 180.0
_LOOKS_EVERY = 1.0
_RESTS_FOR = 6.0


class World:
    """Everybody who takes part."""

    def __init__(self, seed: int, *, kind: Kind | None = None, trace: Callable[[str], None] | None = None) -> None:
        self.around = around = surroundings_of(seed, kind)
        self._trace = trace
        if trace is not None:
            around.verdicts.trace = self._traced
        browsers = BrowserInvariants(around)
        self.invariants = Invariants(around, sessions=SessionInvariants(around, browsers), browsers=browsers)
        self.fleet = fleet = Fleet(around)
        for number, slots in enumerate(around.plan.slots, start=1):
            machine = Machine(
                name=f"node-{number}",
                slots=slots,
                loop=around.loop,
                chance=around.chance,
                habits=around.habits,
                witness=browsers,
                door=lambda machine: door_of(fleet, machine),
                on_fault=around.verdicts.failed,
            )
            around.machines[machine.name] = machine
        fleet.replicas = [Replica(around, f"replica-{number}") for number in range(around.plan.replicas)]
        self.reapers = [Reaper(around, fleet, f"reaper-{number}") for number in range(around.plan.reapers)]
        self.nemesis = Nemesis(around, replicas=fleet.replicas, reapers=self.reapers)
        self._outside = Process(around.loop, Host("outside"), around.verdicts.failed)
        self._found_organizations()
        self.callers = self._callers()
        self.watchers = [
            Watcher(around, fleet, self._outside, around.chance.choice(ORGANIZATIONS))
            for _ in range(around.plan.watchers)
        ]
        self.operator = Operator(around, fleet, self._outside)
        self.settling = Settling(around, invariants=self.invariants, watchers=self.watchers)

    def run(self) -> None:
        """Run the schedule to its end, or to the first violation."""
        _ = self._outside.spawn(self._play())
        try:
            self.around.loop.run_forever()
        except Stalled:
            self.around.verdicts.broken("liveness", "nothing happens any more")
        finally:
            self._end()

    def _found_organizations(self) -> None:
        for organization_id, limits in self.around.plan.limits.items():
            self.around.database.put_organization(Organization(id=organization_id, limits=limits))
            self.around.troubles.limited(organization_id, limits)

    def _callers(self) -> list[CallingScript]:
        known: dict[OrganizationId, list[SessionId]] = {organization_id: [] for organization_id in ORGANIZATIONS}
        return [
            CallingScript(
                self.around,
                fleet=self.fleet,
                process=self._outside,
                invariants=self.invariants,
                name=f"caller-{number}",
                organization_id=organization_id,
                known=known[organization_id],
            )
            for number, organization_id in enumerate(self.around.plan.callers)
        ]

    async def _play(self) -> None:
        plan, spawn = self.around.plan, self._outside.spawn
        for replica in self.fleet.replicas:
            replica.boot()
        for reaper in self.reapers:
            reaper.boot()
        for machine in self.around.machines.values():
            machine.boot()
        await asyncio.sleep(0.2)
        self.nemesis.begin()
        for watcher in self.watchers:
            _ = spawn(watcher.run())
        doings = [spawn(caller.run()) for caller in self.callers]
        doings += [spawn(self.nemesis.strike_once()) for _ in range(plan.faults)]
        doings += [spawn(self.operator.operate_once()) for _ in range(plan.operations)]
        await asyncio.sleep(plan.active)
        self._traced("everything is mended")
        self.nemesis.mend()
        doings.append(spawn(self.operator.lift()))
        await self._settle(doings)
        self.around.loop.stop()

    async def _settle(self, doings: list[asyncio.Task[None]]) -> None:
        end, rested = self.around.loop.time() + _SETTLES_WITHIN, 0.0
        while rested < _RESTS_FOR:
            await asyncio.sleep(_LOOKS_EVERY)
            is_busy = any(not task.done() for task in doings)
            unsettled = ("I11", "a call has not ended") if is_busy else self.settling.unsettled()
            rested = rested + _LOOKS_EVERY if unsettled is None else 0.0
            if unsettled is not None and self.around.loop.time() > end:
                self.around.verdicts.broken(unsettled[0], f"3 minutes after the last fault: {unsettled[1]}")
                return

    def _end(self) -> None:
        """Let nothing be left over: what is under way ends here, and not when its memory is wanted."""
        loop = self.around.loop
        self.around.verdicts.trace = loop.on_task = None
        self._outside.die()
        for replica in self.fleet.replicas:
            if replica.life is not None:
                replica.life.process.die()
        for reaper in self.reapers:
            if reaper.process is not None:
                reaper.process.die()
        for machine in self.around.machines.values():
            machine.crash()
        loop.drain()
        loop.close()

    def _traced(self, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.around.loop.time():9.3f} {text}")
