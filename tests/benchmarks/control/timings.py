"""Load with a bound: so many calls in flight, or so many begun each second; and how long they took."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import grpc

Action = Callable[[], Awaitable[object]]


class WrongAnswer(Exception):
    """A call was answered with something else than it asked for; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What a load did. Latencies are of calls that succeeded."""

    count: int
    failures: dict[str, int]
    elapsed: timedelta
    p50: timedelta
    p99: timedelta
    longest: timedelta

    @property
    def rate(self) -> float:
        """Calls that succeeded, a second."""
        return self.count / self.elapsed.total_seconds()


@dataclass(slots=True)
class _Record:
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.perf_counter)

    async def note(self, action: Action, since: float) -> None:
        try:
            await action()
        except grpc.aio.AioRpcError as error:
            self.failures[f"{error.code().name}: {error.details()}"] += 1
        except WrongAnswer as error:
            self.failures[str(error)] += 1
        else:
            self.seconds.append(time.perf_counter() - since)

    def timings(self) -> Timings:
        elapsed = time.perf_counter() - self.began
        ordered = sorted(self.seconds)
        return Timings(
            count=len(ordered),
            failures=dict(self.failures),
            elapsed=timedelta(seconds=elapsed),
            p50=percentile(ordered, 0.50),
            p99=percentile(ordered, 0.99),
            longest=percentile(ordered, 1.0),
        )


async def in_flight(action: Action, *, at_once: int, within: timedelta, total: int | None = None) -> Timings:
    """Keep `at_once` calls under way until the time or the `total` is over: what the other side can do at most."""
    record = _Record()
    end = record.began + within.total_seconds()
    left = math.inf if total is None else total

    async def lane() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < end:
            left -= 1
            await record.note(action, time.perf_counter())

    async with asyncio.TaskGroup() as lanes:
        for _ in range(at_once):
            lanes.create_task(lane())
    return record.timings()


async def paced(action: Action, *, rate: float, within: timedelta, total: int | None = None) -> Timings:
    """Begin `rate` calls a second, whether or not earlier ones were answered.

    A call's time counts from the instant at which it was due, so that a server which makes its callers wait cannot
    hide it.
    """
    record = _Record()
    wanted = int(rate * within.total_seconds())
    async with asyncio.TaskGroup() as calls:
        for number in range(wanted if total is None else min(wanted, total)):
            due = record.began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(record.note(action, due))
    return record.timings()


def percentile(ordered: Sequence[float], share: float) -> timedelta:
    """Return the smallest value that `share` of all values do not exceed; zero when there are none."""
    if not ordered:
        return timedelta(0)
    return timedelta(seconds=ordered[max(0, math.ceil(share * len(ordered)) - 1)])
