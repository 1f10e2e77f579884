"""Many schedules, in several processes."""

import contextlib
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.schedule import Outcome, run_schedule

_BATCH = 100
_SHOWN_AFTER = 10_000
_COLLECTED_AFTER = 50


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a number of schedules came to."""

    schedules: int = 0
    sessions: int = 0
    commits: int = 0
    lasted: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.sessions += outcome.sessions
        self.commits += outcome.commits
        self.lasted += outcome.lasted
        self.kinds[outcome.plan.kind.value] += 1
        if outcome.violation is not None:
            self.failures.append(outcome)

    def text(self, taken: float) -> str:
        """Say what it came to; `taken` in seconds."""
        return (
            f"{self.schedules} schedules in {taken:.1f} s ({self.schedules / taken:.0f}/s): {len(self.failures)} failed,"
            f" {self.sessions} sessions, {self.commits} commits, {self.lasted / 3600:.1f} virtual hours,"
            f" {dict(sorted(self.kinds.items()))}"
        )

    def merge(self, other: "Batch") -> None:
        self.schedules += other.schedules
        self.sessions += other.sessions
        self.commits += other.commits
        self.lasted += other.lasted
        self.kinds += other.kinds
        self.failures += other.failures


def run_batch(span: tuple[int, int]) -> Batch:
    """Run the schedules of a span of seeds in this process."""
    batch = Batch()
    with _collecting_between():
        for seed in range(*span):
            batch.add(run_schedule(seed))
            if seed % _COLLECTED_AFTER == 0:
                gc.collect()
    return batch


def run_many(first: int, count: int, *, jobs: int) -> Iterator[Batch]:
    """Yield what each batch came to, as they end."""
    spans = [(begin, min(begin + _BATCH, first + count)) for begin in range(first, first + count, _BATCH)]
    if jobs == 1:
        yield from map(run_batch, spans)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_batch, spans)


def run_batches(first: int, count: int, *, jobs: int) -> int:
    """Run schedules, print what they came to, and return the exit code."""
    total, begin = Batch(), time.monotonic()
    for batch in run_many(first, count, jobs=jobs):
        total.merge(batch)
        for outcome in batch.failures:
            _say(failure_text(outcome))
        if total.schedules % _SHOWN_AFTER == 0 and total.schedules < count:
            _say(total.text(time.monotonic() - begin))
    _say(total.text(time.monotonic() - begin))
    return 1 if total.failures else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def failure_text(outcome: Outcome) -> str:
    """Say what broke, and how to see it again."""
    violation = outcome.violation
    if violation is None:
        return f"seed {outcome.seed}: nothing broke"
    return (
        f"seed {outcome.seed}: {violation.invariant} at {violation.time:.3f} s: {violation.message}\n"
        f"  python -m tests.simulation --seed {outcome.seed} --trace"
    )


@contextlib.contextmanager
def _collecting_between() -> Iterator[None]:
    """Look for garbage between schedules only: what one makes lives as long as it does."""
    was_enabled = gc.isenabled()
    gc.disable()
    # What is here already stays.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
