"""Ten thousand schedules, and that a seed makes the same one every time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.simulation.batch import Batch, failure_text, run_batch
from tests.simulation.plan import Kind
from tests.simulation.schedule import run_schedule

_SCHEDULES = 10_000
_CHUNK = 500
_SPAN = 50
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # Spawned: what gRPC and pytest have running here does not bear a fork.
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("first", range(0, _SCHEDULES, _CHUNK))
def test_every_invariant_holds_in_every_schedule(processes: ProcessPoolExecutor, first: int) -> None:
    total = Batch()
    spans = [(begin, begin + _SPAN) for begin in range(first, first + _CHUNK, _SPAN)]
    for batch in processes.map(run_batch, spans):
        total.merge(batch)
    assert not total.failures, "\n".join(failure_text(outcome) for outcome in total.failures)
    assert total.schedules == _CHUNK


@pytest.mark.parametrize("kind", Kind)
def test_a_seed_makes_the_same_schedule_every_time(kind: Kind) -> None:
    traces: list[list[str]] = [[], []]
    outcomes = [run_schedule(7, kind=kind, trace=trace.append) for trace in traces]
    assert outcomes[0] == outcomes[1]
    assert traces[0] == traces[1]


def test_a_seed_makes_the_same_schedule_in_every_process() -> None:
    first, second = _replayed("11", hash_seed="1"), _replayed("11", hash_seed="2")
    assert first == second
    assert "RUNNING" in first


def test_seeds_make_different_schedules() -> None:
    traces: list[list[str]] = [[], []]
    for seed, trace in enumerate(traces):
        run_schedule(seed, kind=Kind.SHORT, trace=trace.append)
    assert traces[0] != traces[1]


def _replayed(seed: str, *, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", seed, "--trace"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
