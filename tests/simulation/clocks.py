"""Instants and IDs of the simulation."""

import itertools
from datetime import UTC, datetime, timedelta

from tests.simulation.loop import VirtualLoop

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


class DatabaseClock:
    """The database's clock: the truth."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


class SkewedClock:
    """A replica's clocks: its wall clock may be wrong and may step."""

    def __init__(self, truth: DatabaseClock, skew: timedelta) -> None:
        self._truth = truth
        self.skew = skew

    def now(self) -> datetime:
        return self._truth.now() + self.skew

    def monotonic(self) -> float:
        return self._truth.monotonic()


class CountedIds:
    """IDs of one process: its wall clock's milliseconds, then a number of the whole simulation."""

    def __init__(self, clock: SkewedClock, numbers: "itertools.count[int]") -> None:
        self._clock = clock
        self._numbers = numbers
        self._last = 0

    def new(self, prefix: str) -> str:
        self._last = max(self._last, int(self._clock.now().timestamp() * 1000))
        return f"{prefix}_{self._last:013d}{next(self._numbers):013d}"
