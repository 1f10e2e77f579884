"""One schedule: what its seed makes of the world."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.plan import Kind, Plan
from tests.simulation.verdicts import Violation
from tests.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a schedule went."""

    seed: int
    plan: Plan
    violation: Violation | None
    # Virtual seconds.
    lasted: float
    sessions: int
    commits: int


def run_schedule(seed: int, *, kind: Kind | None = None, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run the schedule of a seed, of one kind where it is given; `trace` is told what happens in it."""
    # What the services log in so much trouble is of no use, and takes time.
    logging.disable(logging.CRITICAL)
    try:
        world = World(seed, kind=kind, trace=trace)
        world.run()
    finally:
        logging.disable(logging.NOTSET)
    around = world.around
    return Outcome(
        seed=seed,
        plan=around.plan,
        violation=around.verdicts.violation,
        lasted=around.loop.time(),
        sessions=len(around.database.sessions()),
        commits=around.database.commits,
    )
