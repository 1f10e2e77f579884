"""What everything of a schedule lives in: one clock, one chance, one database, one network, one bus."""

import itertools
import random
from dataclasses import dataclass, field

from tests.simulation.browser import BrowserHabits
from tests.simulation.bus_model import Bus, BusFaults
from tests.simulation.clocks import DatabaseClock
from tests.simulation.database import DatabaseFaults, SimulatedDatabase
from tests.simulation.loop import VirtualLoop
from tests.simulation.machines import Machine
from tests.simulation.network import Network, Weather
from tests.simulation.plan import Kind, Plan, draw_plan
from tests.simulation.process import adopt
from tests.simulation.troubles import Troubles
from tests.simulation.verdicts import Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """`machines` are filled in by whoever builds them; each is known by its name, which is its address too."""

    plan: Plan
    loop: VirtualLoop
    chance: random.Random
    clock: DatabaseClock
    network: Network
    database: SimulatedDatabase
    bus: Bus
    habits: BrowserHabits
    troubles: Troubles
    verdicts: Verdicts
    machines: dict[str, Machine] = field(default_factory=dict)
    # For IDs.
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


def surroundings_of(seed: int, kind: Kind | None = None) -> Surroundings:
    """Return what a schedule of this seed lives in, still empty."""
    chance = random.Random(seed)
    plan = draw_plan(chance, kind)
    # The order of callbacks has a chance of its own: it is drawn from most often.
    loop = VirtualLoop(random.Random(chance.getrandbits(64)))
    loop.on_task = adopt
    clock = DatabaseClock(loop)
    return Surroundings(
        plan=plan,
        loop=loop,
        chance=chance,
        clock=clock,
        network=Network(loop, chance, Weather()),
        database=SimulatedDatabase(loop, clock, chance, DatabaseFaults(), interleaves=plan.interleaves),
        bus=Bus(loop, chance, BusFaults()),
        habits=BrowserHabits(),
        troubles=Troubles(loop, is_random=plan.trouble > 0),
        verdicts=Verdicts(loop),
    )
