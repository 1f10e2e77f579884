"""Locks of rows: who holds what, and who waits for it."""

import asyncio
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Protocol

from fleetkit.errors import Aborted
from fleetkit.postgres import DatabaseUnavailable
from tests.simulation.loop import VirtualLoop

# What a transaction locks: a row of a table, or a value of a unique index.
Lock = tuple[Hashable, ...]

_STATEMENT_SECONDS = 10.0


class Holder(Protocol):
    """A transaction."""

    waits_for: Lock | None

    def is_stopped(self) -> bool:
        """Whether its client has gone silent within it."""
        ...

    def end(self) -> None:
        """Let go of everything."""
        ...


class Locks:
    """All locks of the database."""

    def __init__(self, loop: VirtualLoop, on_deadlock: Callable[[str], None]) -> None:
        self._loop = loop
        self._on_deadlock = on_deadlock
        self._holders: dict[Lock, Holder] = {}
        self._waiting: dict[Lock, list[asyncio.Future[None]]] = {}

    async def take(self, owner: Holder, lock: Lock) -> None:
        """Wait for a lock that a transaction keeps until its end.

        Raises Aborted where two would wait for each other, and DatabaseUnavailable when a statement has waited for as
        long as it may.
        """
        end = self._loop.time() + _STATEMENT_SECONDS
        while (holder := self._holders.get(lock)) is not None and holder is not owner:
            if self._loop.time() >= end:
                raise database_unavailable()
            owner.waits_for = lock
            try:
                if self._comes_back_to(owner):
                    self._on_deadlock(f"a transaction that wants {lock} waits for itself")
                    raise Aborted("Somebody else changed this at the same time; try again.")
                await self._turn(lock, end)
            finally:
                owner.waits_for = None
            if holder.is_stopped() and self._loop.time() >= end:
                # Postgres ends the transaction of a client that has gone silent within it.
                holder.end()
        self._holders[lock] = owner

    def is_free(self, owner: Holder, lock: Lock) -> bool:
        """Whether nobody else has a lock."""
        return self._holders.get(lock) in {None, owner}

    def release(self, owner: Holder) -> None:
        """Let the next one have what a transaction held."""
        for lock in [lock for lock, holder in self._holders.items() if holder is owner]:
            del self._holders[lock]
            for turn in self._waiting.pop(lock, []):
                _wake(turn)

    async def _turn(self, lock: Lock, end: float) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(lock, []).append(turn)
        alarm = self._loop.call_at(end, _wake, turn)
        try:
            await turn
        finally:
            alarm.cancel()

    def _comes_back_to(self, owner: Holder) -> bool:
        seen = owner
        while seen.waits_for is not None:
            holder = self._holders.get(seen.waits_for)
            if holder is None or holder is owner:
                return holder is owner
            seen = holder
        return False


def database_unavailable() -> DatabaseUnavailable:
    return DatabaseUnavailable("The database does not answer.", retry_after=timedelta(seconds=1))


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
