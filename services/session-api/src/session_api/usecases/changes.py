"""News of sessions: one reader a process, which hands changes to whoever listens."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Never

from fleetkit.errors import FleetError
from session_api.domain.errors import ResumeTokenExpired, ServiceStopping
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Session
from session_api.usecases.ports import Changes, Database

log = logging.getLogger(__name__)

_POLL_INTERVAL = timedelta(milliseconds=100)
_AFTER_FAILURE = timedelta(seconds=1)


class Listener:
    """Collects changes until somebody takes them; a session that changes often is there once, with its latest state."""

    def __init__(self, position: int) -> None:
        self._sessions: dict[SessionId, Session] = {}
        self._position = position
        self._news = asyncio.Event()
        self._stopping = False

    @property
    def position(self) -> int:
        """Everything that was taken so far lies before this position."""
        return self._position

    async def take(self, *, within: timedelta) -> Changes:
        """Wait for changes and return them; none when there were none in time. Raises ServiceStopping."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._news.wait()
        if self._stopping:
            raise ServiceStopping("This replica stops; call again.", retry_after=timedelta(milliseconds=100))
        self._news.clear()
        sessions, self._sessions = list(self._sessions.values()), {}
        return Changes(sessions=sessions, position=self._position)

    async def heard(self, session_id: SessionId, *, within: timedelta) -> None:
        """Return when this session changed, or after a while. Raises ServiceStopping."""
        end = asyncio.get_running_loop().time() + within.total_seconds()
        while (left := end - asyncio.get_running_loop().time()) > 0:
            changes = await self.take(within=timedelta(seconds=left))
            if any(session.id == session_id for session in changes.sessions):
                return

    def offer(self, changes: Changes) -> None:
        self._position = changes.position
        if changes.sessions:
            self._sessions.update({session.id: session for session in changes.sessions})
            self._news.set()

    def stop(self) -> None:
        self._stopping = True
        self._news.set()


class ChangeHub:
    """Reads the changes of all sessions once, for any number of listeners, and only while there are some."""

    def __init__(self, *, database: Database, interval: timedelta = _POLL_INTERVAL) -> None:
        self._database = database
        self._interval = interval
        self._listeners: set[Listener] = set()
        self._wanted = asyncio.Event()
        self._reading = asyncio.Lock()
        self._position = 0
        self._stopping = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """Hand every change that is committed from now on to a listener, within the block."""
        if self._stopping:
            raise ServiceStopping("This replica stops; call again.", retry_after=timedelta(milliseconds=100))
        async with self._reading:
            if not self._listeners:
                async with self._database.single() as tx:
                    self._position = await tx.sessions.position()
            listener = Listener(self._position)
            self._listeners.add(listener)
        if self._stopping:
            # Meanwhile; those who were there then have been told.
            listener.stop()
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._wanted.clear()

    async def run(self) -> Never:
        """Read for ever. While the database is away listeners hear nothing, and nothing is lost."""
        while True:
            await self._wanted.wait()
            try:
                await self._read()
                await asyncio.sleep(self._interval.total_seconds())
            except ResumeTokenExpired:
                # The database was restored from a backup: whoever listens knows what no longer is, and begins anew.
                log.warning("the database is another one than before: watchers begin anew")
                for listener in self._listeners:
                    listener.stop()
                await asyncio.sleep(_AFTER_FAILURE.total_seconds())
            except FleetError as error:
                log.warning("changes of sessions cannot be read: %s", error)
                await asyncio.sleep(_AFTER_FAILURE.total_seconds())

    def stop(self) -> None:
        """Send every listener away, to another replica."""
        self._stopping = True
        for listener in self._listeners:
            listener.stop()

    async def _read(self) -> None:
        async with self._reading:
            async with self._database.single() as tx:
                changes = await tx.sessions.changes(since=self._position)
            self._position = changes.position
            for listener in self._listeners:
                listener.offer(changes)
