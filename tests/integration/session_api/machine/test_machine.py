"""Anything, in any order: the fleet on its real Postgres does what a model in plain Python says."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.session_api.machine.lease_rules import LeaseRules
from tests.integration.session_api.machine.node_rules import NodeRules
from tests.integration.session_api.machine.session_rules import SessionRules
from tests.integration.session_api.machine.world import World

# Runs of the machine: those of an ordinary test are the same each time, those that are asked for are new ones.
_ASKED_FOR = int(os.environ.get("FLEET_MACHINE_RUNS", "0"))
_RUNS = 100
_STEPS = 40


# A failure is made as short as can be before it is shown.
@pytest.mark.timeout(600 + 10 * _ASKED_FOR)
def test_whatever_happens_the_fleet_is_as_the_model_says(migrated: str) -> None:
    with World(migrated) as world:

        class Machine(SessionRules, LeaseRules, NodeRules):
            pass

        Machine.world = world
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=_ASKED_FOR or _RUNS,
                stateful_step_count=_STEPS,
                deadline=None,
                derandomize=not _ASKED_FOR,
                suppress_health_check=list(HealthCheck),
            ),
        )
