"""What goes wrong, when, and for how long."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from tests.simulation.reapers import Reaper
from tests.simulation.replicas import Replica
from tests.simulation.surroundings import Surroundings


class Nemesis:
    """Breaks things within the schedule's active time, and mends all of them at its end."""

    def __init__(self, around: Surroundings, *, replicas: Sequence[Replica], reapers: Sequence[Reaper]) -> None:
        self._replicas = replicas
        self._reapers = reapers
        self._machines = list(around.machines.values())
        self._chance = around.chance
        self._plan = around.plan
        self._database = around.database.faults
        self._bus = around.bus.faults
        self._weather = around.network.weather
        self._habits = around.habits
        self._troubles = around.troubles
        self._verdicts = around.verdicts

    def begin(self) -> None:
        """Set what is wrong all the time."""
        chance, share = self._chance, self._plan.trouble
        if share:
            self._troubles.begin()
            self._database.fails, self._database.unknown = share * chance.random(), share * chance.random()
            self._database.slow, self._database.slowest = share, chance.choice((1.0, 4.0))
            self._weather.request_lost, self._weather.answer_lost = share * chance.random(), share * chance.random()
            self._weather.slow, self._weather.slowest = share, chance.choice((1.0, 3.0))
            self._bus.lost = self._bus.doubled = self._bus.late = self._bus.ack_lost = 5 * share
        self._habits.start = self._plan.start
        trouble = self._plan.browser_trouble
        self._habits.start_fails = self._habits.start_hangs = self._habits.stubborn = trouble * chance.random()

    async def strike_once(self) -> None:
        """One fault, at some time."""
        await asyncio.sleep(self._chance.random() * self._plan.active * 0.75)
        strike = self._chance.choice(self._strikes())
        if self._verdicts.trace is not None:
            self._verdicts.trace(strike.__name__.strip("_"))
        await strike()

    def mend(self) -> None:
        """Mend everything, and start again what does not run."""
        if self._plan.trouble:
            self._troubles.end()
        self._database.mend()
        self._bus.mend()
        self._weather.clear_up()
        self._habits.start_fails = self._habits.start_hangs = self._habits.stubborn = 0.0
        for replica in self._replicas:
            if replica.life is not None:
                replica.life.process.live_on()
                replica.life.process.resume()
            replica.boot()
        for reaper in self._reapers:
            if reaper.process is not None:
                reaper.process.resume()
            reaper.boot()
        for machine in self._machines:
            machine.cut(mute=False, deaf=False)
            machine.resume()
            machine.boot()

    def _strikes(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self._crash_replica,
            self._crash_replica,
            self._crash_replica_in_a_step,
            self._crash_replica_in_a_step,
            self._crash_replica_in_a_step,
            self._stop_replica,
            self._pause_replica,
            self._crash_every_replica,
            self._crash_reaper,
            self._pause_reaper,
            self._crash_machine,
            self._crash_machine,
            self._pause_machine,
            self._pause_machine,
            self._cut_machine,
            self._cut_machine,
            self._stop_machine,
            self._crash_browser,
            self._crash_browser,
            self._take_database_away,
            self._slow_database,
            self._take_bus_away,
            self._step_clock,
        ]

    # ---- replicas and reapers

    async def _crash_replica(self) -> None:
        await self._down(self._chance.choice(self._replicas), self._chance.uniform(0.5, 10.0))

    async def _crash_replica_in_a_step(self) -> None:
        """A replica dies in its n-th call of the world from now on: amid whatever it does then."""
        replica = self._chance.choice(self._replicas)
        if replica.life is None or not replica.life.process.alive:
            return
        process, died = replica.life.process, asyncio.Event()
        process.on_death.append(died.set)
        process.die_after(self._chance.randint(1, 60))
        # What is mended before that stays alive.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.active):
                await died.wait()
        if not process.alive:
            await self._down(replica, self._chance.uniform(0.0, 5.0))

    async def _crash_every_replica(self) -> None:
        seconds = self._chance.uniform(1.0, 12.0)
        self._troubles.begin(away=True)
        await asyncio.gather(*(self._down(replica, seconds) for replica in self._replicas))
        self._troubles.end(away=True)

    async def _down(self, replica: Replica, seconds: float) -> None:
        self._troubles.begin()
        if replica.life is not None:
            replica.life.process.die()
        await asyncio.sleep(seconds)
        replica.boot()
        self._troubles.end()

    async def _stop_replica(self) -> None:
        """SIGTERM: who watches is sent away, what was begun gets a while to end."""
        replica = self._chance.choice(self._replicas)
        life = replica.life
        self._troubles.begin()
        if life is not None and life.process.alive:
            life.plane.hub.stop()
            await asyncio.sleep(self._chance.uniform(0.1, 4.0))
            life.process.die()
        await asyncio.sleep(self._chance.uniform(0.5, 5.0))
        replica.boot()
        self._troubles.end()

    async def _pause_replica(self) -> None:
        life = self._chance.choice(self._replicas).life
        if life is None:
            return
        self._troubles.begin()
        life.process.pause()
        await asyncio.sleep(self._chance.uniform(0.5, 25.0))
        life.process.resume()
        self._troubles.end()

    async def _crash_reaper(self) -> None:
        reaper = self._chance.choice(self._reapers)
        self._troubles.begin()
        if reaper.process is not None:
            reaper.process.die()
        await asyncio.sleep(self._chance.uniform(1.0, 30.0))
        reaper.boot()
        self._troubles.end()

    async def _pause_reaper(self) -> None:
        process = self._chance.choice(self._reapers).process
        if process is None:
            return
        self._troubles.begin()
        process.pause()
        await asyncio.sleep(self._chance.uniform(1.0, 40.0))
        process.resume()
        self._troubles.end()

    async def _step_clock(self) -> None:
        replica = self._chance.choice(self._replicas)
        replica.step_clock(timedelta(seconds=self._chance.choice((-3600, -300, -20, 20, 300))))

    # ---- machines

    async def _crash_machine(self) -> None:
        machine = self._chance.choice(self._machines)
        machine.crash()
        await asyncio.sleep(self._chance.choice((0.2, 3.0, 10.0, 25.0)))
        machine.boot()

    async def _stop_machine(self) -> None:
        machine = self._chance.choice(self._machines)
        node = machine.node
        if node is None:
            return
        machine.troubled()
        await asyncio.wait({node.process.spawn(node.leave())}, timeout=15.0)
        if machine.node is node:
            machine.crash()
        await asyncio.sleep(self._chance.uniform(0.5, 8.0))
        machine.boot()

    async def _pause_machine(self) -> None:
        machine = self._chance.choice(self._machines)
        machine.pause(freeze=self._chance.random() < 0.5)
        await asyncio.sleep(self._chance.choice((2.0, 8.0, 20.0, 45.0)))
        machine.resume()

    async def _cut_machine(self) -> None:
        machine = self._chance.choice(self._machines)
        mute = self._chance.random() < 0.7
        machine.cut(mute=mute, deaf=not mute or self._chance.random() < 0.6)
        await asyncio.sleep(self._chance.choice((3.0, 10.0, 20.0, 50.0)))
        machine.cut(mute=False, deaf=False)

    async def _crash_browser(self) -> None:
        node = self._chance.choice(self._machines).node
        if node is not None:
            node.browsers.crash_one(self._chance)

    # ---- stores

    async def _take_database_away(self) -> None:
        self._troubles.begin(away=True)
        self._database.down = True
        await asyncio.sleep(self._chance.choice((1.0, 4.0, 12.0, 28.0, 45.0)))
        self._database.down = False
        self._troubles.end(away=True)

    async def _slow_database(self) -> None:
        if self._database.is_very_slow:
            return
        self._troubles.begin()
        self._database.is_very_slow = True
        await asyncio.sleep(self._chance.uniform(2.0, 15.0))
        self._database.is_very_slow = False
        self._troubles.end()

    async def _take_bus_away(self) -> None:
        self._bus.down = True
        await asyncio.sleep(self._chance.uniform(1.0, 40.0))
        self._bus.down = False
