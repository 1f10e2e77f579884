"""The verbs of a session."""

import asyncio
import contextlib
import logging
from datetime import timedelta

from fleetkit.errors import FleetError
from fleetkit.lifecycle import OwnedTasks
from fleetkit.paging import Page, PageRequest
from fleetkit.telemetry import log_context
from session_api.domain.caller import Caller
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed, QueueTimedOut, SessionNotOpen
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Session, SessionState
from session_api.usecases.admission import Admission, NewSession
from session_api.usecases.changes import ChangeHub
from session_api.usecases.ending import Ending
from session_api.usecases.ports import Bells, Database, NodeGateway
from session_api.usecases.queries import SessionQuery
from session_api.usecases.starting import Starting
from session_api.usecases.wishes import Wishes

log = logging.getLogger(__name__)

_COMING_UP = frozenset({SessionState.QUEUED, SessionState.STARTING})
_LISTENING = timedelta(seconds=15)
# Longer than a database is away while nodes keep their browsers.
_ABANDONING_TRIES = 120
_ABANDONING_PAUSE = timedelta(seconds=1)


class Sessions:
    """What callers do with sessions. Work that was begun is finished also when its caller is gone."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: NodeGateway,
        admission: Admission,
        starting: Starting,
        ending: Ending,
        hub: ChangeHub,
        tasks: OwnedTasks,
        bells: Bells,
        wishes: Wishes,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._admission = admission
        self._starting = starting
        self._ending = ending
        self._hub = hub
        self._tasks = tasks
        self._bells = bells
        self._wishes = wishes

    async def create(self, caller: Caller, request: NewSession, *, wait: timedelta) -> Session:
        """Make a session and return it RUNNING, or as it is when `wait` is over.

        Raises InvalidArgument, OptionUnavailable, RequestIdReused, NoCapableNode, NoCapacity, QueueFull, QuotaExceeded;
        QueueTimedOut, BrowserStartFailed, NodeUnavailable, SessionNotOpen, or for an option InvalidArgument,
        OptionUnavailable or ProxyUnreachable when it did not come up: it is found under the request's idempotency key.
        """
        request = self._wishes.accepted(caller, request)
        allocation = self._tasks.start(self._admission.allocate(caller, request))
        beginning = self._tasks.start(self._begin(allocation))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds()):
                    session = await asyncio.shield(beginning)
                    return await self._up(session.id) if session.state is SessionState.QUEUED else session
            session = await asyncio.shield(allocation)
            return await self.get(caller, session.id)
        except (asyncio.CancelledError, FleetError):
            if not request.request_id:
                # Nobody can find this session again.
                _ = self._tasks.start(self._abandon(allocation))
            raise

    async def get(self, caller: Caller, session_id: SessionId) -> Session:
        """Return a session, open or ended. Raises SessionNotFound."""
        async with self._database.single() as tx:
            return await tx.sessions.get(session_id, organization_id=caller.visible_organization)

    async def list(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        """Return one page of sessions in the query's order."""
        async with self._database.single() as tx:
            return await tx.sessions.page(query, page)

    async def extend(self, caller: Caller, session_id: SessionId, *, by: timedelta) -> Session:
        """Move the deadline of a running session. Raises SessionNotFound, SessionNotOpen, TimeoutLimit."""
        await self.get(caller, session_id)
        async with self._database.transaction() as tx:
            locked, now = await tx.sessions.lock(session_id)
            session = locked.extended(by=by, now=now)
            await tx.sessions.save(session)
            await tx.outbox.announce(session, what="extended", now=now)
            await tx.outbox.schedule(session)
        self._bells.relay.set()
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

    async def _begin(self, allocation: asyncio.Task[Session]) -> Session:
        session = await allocation
        with log_context(session_id=session.id):
            return await self._starting.start(session) if session.state is SessionState.STARTING else session

    async def _up(self, session_id: SessionId) -> Session:
        """Wait until a queued session is up, or raise what became of it."""
        async with self._hub.listening() as listener:
            while True:
                async with self._database.single() as tx:
                    session = await tx.sessions.get(session_id)
                if session.state not in _COMING_UP:
                    break
                await listener.heard(session_id, within=_LISTENING)
        if session.state is SessionState.RUNNING:
            return session
        raise _not_up(session)

    async def _abandon(self, allocation: asyncio.Task[Session]) -> None:
        session = await allocation
        for _ in range(_ABANDONING_TRIES):
            try:
                await self._ending.close(session.id, reason=CloseReason.CLIENT_GONE)
            except FleetError as error:
                # Most likely what took the caller's answer away: it passes.
                log.warning("session %s is nobody's and has not ended yet: %s", session.id, error.message)
                await asyncio.sleep(_ABANDONING_PAUSE.total_seconds())
            else:
                return


def _not_up(session: Session) -> FleetError:
    if session.close_reason is CloseReason.QUEUE_TIMED_OUT:
        return QueueTimedOut(session.close_message, session_id=session.id)
    if session.close_reason is CloseReason.START_FAILED:
        return BrowserStartFailed(session.close_message, session_id=session.id)
    return SessionNotOpen(
        f"The session was ended before it was up: {session.close_message}",
        session_id=session.id,
        state=str(session.state),
        close_reason=str(session.close_reason or ""),
    )
