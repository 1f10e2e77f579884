"""Runs schedules: one with `--seed N [--trace]`, or many with `--schedules N [--from N] [--jobs N]`."""

import argparse
import sys

from tests.simulation.batch import run_batches
from tests.simulation.schedule import run_schedule


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    arguments.add_argument("--seed", type=int, help="run this schedule alone")
    arguments.add_argument("--trace", action="store_true", help="print what happens in it")
    arguments.add_argument("--schedules", type=int, default=10_000, help="how many to run")
    arguments.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    given = arguments.parse_args()
    if given.seed is None:
        return run_batches(given.first, given.schedules, jobs=given.jobs)
    outcome = run_schedule(given.seed, trace=print if given.trace else None)
    print(outcome)
    return 1 if outcome.violation is not None else 0


if __name__ == "__main__":
    sys.exit(main())
