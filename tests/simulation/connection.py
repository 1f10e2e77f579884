"""One process's way to the database: it is slow, breaks, and loses the answer to a commit."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from session_api.usecases.ports import Transaction
from tests.simulation.database import SimulatedDatabase
from tests.simulation.locks import database_unavailable
from tests.simulation.process import Process


class Connection:
    """See Database: one process's way to it."""

    def __init__(self, database: SimulatedDatabase, process: Process) -> None:
        self.database = database
        self.process = process

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return _Steps(self) if self.database.interleaves else _Instant(self)

    def single(self) -> AbstractAsyncContextManager[Transaction]:
        return self.transaction()

    async def reach(self) -> None:
        """Get through to the database. Raises DatabaseUnavailable."""
        faults, draw, pause = self.database.faults, self.database.draw, self.database.pause
        if not self.process.is_steady:
            await self.process.step()
        delay = 0.0005 + 0.003 * draw()
        if (faults.slow or faults.is_very_slow) and draw() < (0.5 if faults.is_very_slow else faults.slow):
            delay = draw() * faults.slowest
        await pause(delay)
        if faults.down:
            # Refused at once, or no answer in the time that a pool waits.
            await pause(5.0 if draw() < 0.2 else 0.01)
            if faults.down:
                raise database_unavailable()
        if not self.process.is_steady:
            await self.process.step()


class _Instant:
    """A transaction that is done at one instant, as if all others waited for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Transaction:
        await self._connection.reach()
        return self._connection.database.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        database = self._connection.database
        if error is not None or not self._connection.process.alive:
            database.roll_back()
            return
        if database.fails_to_commit():
            database.roll_back()
            raise database_unavailable()
        if database.loses_answer(database.commit()):
            raise database_unavailable()
        if not self._connection.process.is_steady:
            await self._connection.process.step()


class _Steps:
    """A transaction whose statements take their time, while others do theirs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transaction = connection.database.open(connection.reach, lambda: connection.process.paused)

    async def __aenter__(self) -> Transaction:
        await self._connection.reach()
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        database, process = self._connection.database, self._connection.process
        try:
            if error is not None or not process.alive:
                return
            await self._connection.reach()
            if self._transaction.ended or database.fails_to_commit():
                raise database_unavailable()
            self._transaction.apply()
            commit = database.commit()
        finally:
            self._transaction.end()
        if database.loses_answer(commit):
            raise database_unavailable()
        if not process.is_steady:
            await process.step()
