"""The simulation finds mistakes: each one is planted, and has to be caught by an invariant that it breaks."""

import pytest

from tests.simulation.planted import Mistake, mistakes
from tests.simulation.schedule import Outcome, run_schedule

# The rarest one needs a few hundred.
_SEEDS = 1500


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda mistake: mistake.name)
def test_a_planted_mistake_is_found(mistake: Mistake) -> None:
    outcome = _first_failure(mistake)
    assert outcome is not None, f"{_SEEDS} schedules did not find that {mistake.name}"
    assert outcome.violation is not None
    assert outcome.violation.invariant in mistake.caught_by, outcome.violation


def _first_failure(mistake: Mistake) -> Outcome | None:
    with mistake.plant():
        outcomes = (run_schedule(seed, kind=mistake.kind) for seed in range(_SEEDS))
        return next((outcome for outcome in outcomes if outcome.violation is not None), None)
