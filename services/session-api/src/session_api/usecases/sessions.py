"""The verbs of a session."""

import asyncio
import logging
from datetime import timedelta

from fleetkit.errors import FleetError
from fleetkit.ids import IdSource
from fleetkit.lifecycle import OwnedTasks
from fleetkit.paging import Page, PageRequest
from fleetkit.telemetry import log_context
from session_api.domain.caller import Caller
from session_api.domain.session import CloseReason, Session, SessionId, SessionState
from session_api.usecases.creation import Creation, NewSession
from session_api.usecases.ending import Ending
from session_api.usecases.ports import Database, NodeGateway, SessionQuery, Wakeups

log = logging.getLogger(__name__)


class Sessions:
    """What callers do with sessions. Work that was begun is finished also when its caller is gone."""

    def __init__(
        self, *, database: Database, nodes: NodeGateway, ids: IdSource, tasks: OwnedTasks, relay: Wakeups
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._tasks = tasks
        self._relay = relay
        self._ending = Ending(database=database, nodes=nodes, relay=relay)
        self._creation = Creation(database=database, nodes=nodes, ids=ids, relay=relay, ending=self._ending)

    async def create(self, caller: Caller, request: NewSession) -> Session:
        """Allocate a session and return it RUNNING.

        Raises RequestIdReused, NoCapableNode, NoCapacity, BrowserStartFailed, NodeUnavailable. A session whose
        browser did not start is FAILED, and found under the request's idempotency key.
        """
        allocation = self._tasks.start(self._creation.allocate(caller, request))
        creation = self._tasks.start(self._create(allocation))
        try:
            return await asyncio.shield(creation)
        except asyncio.CancelledError:
            if not request.request_id:
                # Nobody can find this session again.
                _ = self._tasks.start(self._abandon(allocation))
            raise

    async def get(self, caller: Caller, session_id: SessionId) -> Session:
        """Return a session, open or ended. Raises SessionNotFound."""
        async with self._database.transaction() as tx:
            return await tx.sessions.get(session_id, organization_id=caller.visible_organization)

    async def list(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        """Return one page of sessions, newest first."""
        async with self._database.transaction() as tx:
            return await tx.sessions.page(query, page)

    async def extend(self, caller: Caller, session_id: SessionId, *, by: timedelta) -> Session:
        """Move the deadline of a running session. Raises SessionNotFound, SessionNotOpen, TimeoutLimit."""
        async with self._database.transaction() as tx:
            await tx.sessions.get(session_id, organization_id=caller.visible_organization)
            now = await tx.now()
            session = (await tx.sessions.lock(session_id)).extended(by=by)
            await tx.sessions.save(session)
            await tx.outbox.announce(session, what="extended", now=now)
            await tx.outbox.schedule_deadline(session)
        self._relay.set()
        if session.expire_time is not None:
            try:
                await self._nodes.set_deadline(session, remaining=session.expire_time - now)
            except FleetError as error:
                # The next heartbeat tells the node.
                log.warning("the node was not told of a later deadline: %s", error)
        return session

    async def close(self, caller: Caller, session_id: SessionId) -> Session:
        """End a session on its owner's request and return it in its final state. Raises SessionNotFound."""
        await self.get(caller, session_id)
        return await self._tasks.finish(self._ending.close(session_id, reason=CloseReason.USER_REQUESTED))

    async def reap(self, session_id: SessionId) -> Session:
        """End a session if its deadline has come by the database's clock. Raises SessionNotFound."""
        async with self._database.transaction() as tx:
            session = await tx.sessions.get(session_id)
            if not session.is_overdue(now=await tx.now()):
                return session
        return await self._tasks.finish(self._ending.close(session_id, reason=CloseReason.TIMED_OUT, only_overdue=True))

    async def finish_stuck(self, *, start_timeout: timedelta, stop_timeout: timedelta, limit: int = 100) -> None:
        """One pass over sessions whose start or stop was left half-way by a process that ended."""
        async with self._database.transaction() as tx:
            now = await tx.now()
            starting = await tx.sessions.stuck(SessionState.STARTING, since=now - start_timeout, limit=limit)
            closing = await tx.sessions.stuck(SessionState.CLOSING, since=now - stop_timeout, limit=limit)
        for session_id in starting:
            await self._ending.end(session_id, reason=CloseReason.START_FAILED)
        for session_id in closing:
            await self._ending.end(session_id, reason=CloseReason.USER_REQUESTED)

    async def _create(self, allocation: asyncio.Task[Session]) -> Session:
        session = await allocation
        with log_context(session_id=session.id):
            return await self._creation.start(session) if session.state is SessionState.STARTING else session

    async def _abandon(self, allocation: asyncio.Task[Session]) -> None:
        session = await allocation
        await self._ending.close(session.id, reason=CloseReason.CLIENT_GONE)
