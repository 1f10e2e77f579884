"""Browsers that stand ready, so that a session need not wait for one to start.

They belong to no session: each has folders, a user and a pipe of its own from its birth, is given away once, and
never comes back.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from fleetkit.clock import Clock

log = logging.getLogger(__name__)

# A browser is cheap to make anew; what it opened at its start should not be held for hours.
_MAX_AGE = timedelta(minutes=15)
# Of the browsers that were asked for within this time, as many should stand ready.
_DEMAND_WINDOW = timedelta(seconds=30)
# The demand may make the pool so many times as large as it was set up.
_MOST_GROWTH = 2
# A session that was just served has the machine for itself so long: its first page costs more than anything later.
_AFTER_A_TAKE = timedelta(milliseconds=500)
_FIRST_PAUSE, _LAST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)


class Spare(Protocol):
    """A browser that can stand ready."""

    @property
    def gone(self) -> asyncio.Event:
        """Set when it has ended by itself."""
        ...

    async def answers(self) -> bool:
        """Tell whether it is alive and well. Bounded."""
        ...

    async def discard(self) -> None:
        """End it and leave nothing."""
        ...


S = TypeVar("S", bound=Spare)


@dataclass(frozen=True, slots=True)
class Taken(Generic[S]):
    """What `take` found: a browser, and whether it stood ready or was only just starting."""

    spare: S
    stood_ready: bool


@dataclass(slots=True)
class _Ready(Generic[S]):
    spare: S
    # Monotonic seconds.
    born: float


class _Starting(Generic[S]):
    """A start under way, and the session that waits for it, if any."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.claim: asyncio.Future[S | None] | None = None


class WarmPool(Generic[S]):
    """Keeps browsers ready. Use it as a block, `async with pool.open()`, in which `tend` is called again and again.

    `start` makes one, or raises; `room`, given how many there are, says how many there may be. While a session's own
    browser starts, within `pool.standing_back()`, no start is begun.
    """

    def __init__(
        self,
        *,
        start: Callable[[], Awaitable[S]],
        room: Callable[[int], int],
        clock: Clock,
        size: int,
        parallel_starts: int,
    ) -> None:
        self._start = start
        self._room = room
        self._clock = clock
        self._size = size
        self._parallel_starts = parallel_starts
        self._ready: deque[_Ready[S]] = deque()
        self._starting: list[_Starting[S]] = []
        self._takes: deque[float] = deque()
        self._standing_back = 0
        self._not_before = 0.0
        self._pause = _FIRST_PAUSE
        self._group: asyncio.TaskGroup | None = None
        self._open = False
        # Set when there may be something to tend to.
        self.news = asyncio.Event()

    @property
    def count(self) -> int:
        """How many stand ready."""
        return len(self._ready)

    @property
    def ready(self) -> list[S]:
        """What stands ready, the oldest first, for tests and for the operator's eyes."""
        return [entry.spare for entry in self._ready]

    @property
    def occupied(self) -> int:
        """How many the machine carries, starting ones included."""
        return len(self._ready) + sum(start.claim is None for start in self._starting)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be filled within the block; at its end no browser is left."""
        async with asyncio.TaskGroup() as group:
            self._group, self._open = group, True
            try:
                yield
            finally:
                self._open = False
                for start in self._starting:
                    if start.task is not None:
                        start.task.cancel()
                    # One that is cancelled before its first step does not tell by itself.
                    self._settle(None, start.claim)
                while self._ready:
                    self._part_with(self._ready.popleft().spare)

    async def tend(self) -> None:
        """Do one pass: part with what has died or aged or is too many, and begin starts that are due."""
        if not self._open or self._group is None:
            return
        now = self._clock.monotonic()
        for entry in list(self._ready):
            if entry.spare.gone.is_set() or now - entry.born > _MAX_AGE.total_seconds():
                self._ready.remove(entry)
                self._part_with(entry.spare)
        room = self._room(self.occupied)
        while self._ready and self.occupied > room:
            self._part_with(self._ready.popleft().spare)
        if self._standing_back or now < self._not_before:
            return
        while self.occupied < min(room, self._wanted(now)) and len(self._starting) < self._parallel_starts:
            start: _Starting[S] = _Starting()
            self._starting.append(start)
            start.task = self._group.create_task(self._bring_up(start))

    def _wanted(self, now: float) -> int:
        while self._takes and now - self._takes[0] > _DEMAND_WINDOW.total_seconds():
            self._takes.popleft()
        return min(max(self._size, len(self._takes)), self._size * _MOST_GROWTH)

    async def take(self) -> Taken[S] | None:
        """Give a browser away: one that stands ready and answers, else one that is starting, else None."""
        if not self._open:
            return None
        now = self._clock.monotonic()
        if self.occupied >= self._size:
            self._not_before = now + _AFTER_A_TAKE.total_seconds()
        self._takes.append(now)
        self.news.set()
        while self._ready:
            spare = self._ready.popleft().spare
            try:
                alive = await spare.answers()
            except BaseException:
                self._part_with(spare)
                raise
            if alive:
                return Taken(spare, stood_ready=True)
            log.warning("a browser that stood ready does not answer")
            self._part_with(spare)
        return await self._take_starting()

    async def _take_starting(self) -> Taken[S] | None:
        start = next((start for start in self._starting if start.claim is None), None)
        if start is None:
            return None
        claim = start.claim = asyncio.get_running_loop().create_future()
        try:
            spare = await claim
        except asyncio.CancelledError:
            # Given already, to a session that is not there any more.
            if not claim.cancelled() and (given := claim.result()) is not None:
                self._part_with(given)
            raise
        return None if spare is None else Taken(spare, stood_ready=False)

    @contextlib.contextmanager
    def standing_back(self) -> Iterator[None]:
        """Begin no start within the block."""
        self._standing_back += 1
        try:
            yield
        finally:
            self._standing_back -= 1
            self.news.set()

    async def _bring_up(self, start: _Starting[S]) -> None:
        spare: S | None = None
        try:
            spare = await self._start()
            self._pause = _FIRST_PAUSE
        except Exception as error:
            log.warning("no browser could be made ready: %s", error)
            self._not_before = self._clock.monotonic() + self._pause.total_seconds()
            self._pause = min(self._pause * 2, _LAST_PAUSE)
        finally:
            self._starting.remove(start)
            self._settle(spare, start.claim)

    def _settle(self, spare: S | None, claim: "asyncio.Future[S | None] | None") -> None:
        """Give a browser that has come up, or the news that it did not, to whom it belongs."""
        self.news.set()
        if claim is not None and not claim.done():
            claim.set_result(spare)
        elif spare is not None and self._open:
            self._ready.append(_Ready(spare, self._clock.monotonic()))
        elif spare is not None:
            self._part_with(spare)

    def _part_with(self, spare: S) -> None:
        if self._group is not None:
            self._group.create_task(_discard(spare))


async def _discard(spare: Spare) -> None:
    try:
        await spare.discard()
    except Exception:
        log.exception("the end of a browser that stood ready is not clean")
