"""Sessions from the first request to the final state."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.errors import FleetError
from fleetkit.ids import IdSource
from fleetkit.lifecycle import OwnedTasks
from fleetkit.paging import Page, PageRequest
from fleetkit.telemetry import log_context
from session_api.domain.caller import Caller
from session_api.domain.errors import BrowserStartFailed, NoCapacity, NodeUnavailable, RequestIdReused, SessionNotOpen
from session_api.domain.placement import candidates
from session_api.domain.session import (
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    Allocation,
    BrowserFacts,
    BrowserSpec,
    CloseReason,
    NodeId,
    Session,
    SessionId,
    SessionState,
)
from session_api.usecases.ports import Database, NodeGateway, SessionExists, SessionQuery, Transaction, Wakeups

log = logging.getLogger(__name__)

_RETRY_WHEN_FULL = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a caller asks for; None takes the default."""

    spec: BrowserSpec
    timeout: timedelta | None = None
    request_id: str = ""

    @property
    def digest(self) -> str:
        """Tells two requests under one idempotency key apart."""
        text = f"{self.spec.browser_type}|{self.timeout}"
        return hashlib.sha256(text.encode()).hexdigest()


class Sessions:
    """The verbs of a session. Work that was begun is finished also when its caller is gone."""

    def __init__(
        self, *, database: Database, nodes: NodeGateway, ids: IdSource, tasks: OwnedTasks, relay: Wakeups
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._ids = ids
        self._tasks = tasks
        self._relay = relay

    async def create(self, caller: Caller, request: NewSession) -> Session:
        """Allocate a session and return it RUNNING.

        Raises RequestIdReused, NoCapableNode, NoCapacity, BrowserStartFailed, NodeUnavailable. A session whose
        browser did not start is FAILED, and found under the request's idempotency key.
        """
        allocation = self._tasks.start(self._allocate(caller, request))
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
        return await self._tasks.finish(self._close(session_id, reason=CloseReason.USER_REQUESTED))

    async def reap(self, session_id: SessionId) -> Session:
        """End a session if its deadline has come by the database's clock. Raises SessionNotFound."""
        async with self._database.transaction() as tx:
            session = await tx.sessions.get(session_id)
            if not session.is_overdue(now=await tx.now()):
                return session
        return await self._tasks.finish(self._close(session_id, reason=CloseReason.TIMED_OUT, only_overdue=True))

    async def finish_stuck(self, *, start_timeout: timedelta, stop_timeout: timedelta, limit: int = 100) -> None:
        """One pass over sessions whose start or stop was left half-way by a process that ended."""
        async with self._database.transaction() as tx:
            now = await tx.now()
            starting = await tx.sessions.stuck(SessionState.STARTING, since=now - start_timeout, limit=limit)
            closing = await tx.sessions.stuck(SessionState.CLOSING, since=now - stop_timeout, limit=limit)
        for session_id in starting:
            await self._end(session_id, reason=CloseReason.START_FAILED)
        for session_id in closing:
            await self._end(session_id, reason=CloseReason.USER_REQUESTED)

    async def _create(self, allocation: asyncio.Task[Session]) -> Session:
        session = await allocation
        with log_context(session_id=session.id):
            return await self._start(session) if session.state is SessionState.STARTING else session

    async def _abandon(self, allocation: asyncio.Task[Session]) -> None:
        session = await allocation
        await self._close(session.id, reason=CloseReason.CLIENT_GONE)

    async def _allocate(self, caller: Caller, request: NewSession) -> Session:
        try:
            async with self._database.transaction() as tx:
                return await self._found(tx, caller, request) or await self._place(tx, caller, request)
        except SessionExists:
            # Another call with the same idempotency key was faster.
            async with self._database.transaction() as tx:
                found = await self._found(tx, caller, request)
                if found is None:
                    raise
                return found
        finally:
            self._relay.set()

    async def _found(self, tx: Transaction, caller: Caller, request: NewSession) -> Session | None:
        if not request.request_id:
            return None
        session = await tx.sessions.by_request(caller.organization_id, request.request_id)
        if session is not None and session.request_digest != request.digest:
            raise RequestIdReused("This request_id was used for another request.", session_id=session.id)
        return session

    async def _place(self, tx: Transaction, caller: Caller, request: NewSession) -> Session:
        for node in candidates(await tx.nodes.all(), request.spec):
            if await tx.nodes.take_slot(node):
                break
        else:
            raise NoCapacity("Every slot of the fleet is taken.", retry_after=_RETRY_WHEN_FULL)
        now = await tx.now()
        limit = min(caller.max_timeout or MAX_TIMEOUT, MAX_TIMEOUT)
        asked = request.timeout or DEFAULT_TIMEOUT
        capped = f"The timeout of {_minutes(asked)} was capped to this organization's limit of {_minutes(limit)}."
        session = Session(
            id=SessionId(self._ids.new("pbs")),
            organization_id=caller.organization_id,
            state=SessionState.STARTING,
            spec=request.spec,
            timeout=min(asked, limit),
            lifetime_limit=limit,
            create_time=now,
            state_time=now,
            warnings=(capped,) if asked > limit and request.timeout is not None else (),
            request_id=request.request_id,
            request_digest=request.digest,
            sequence=1,
        ).allocated(
            Allocation(
                node_id=node.id,
                registration_id=node.registration_id,
                node_address=node.address,
                attach_url=node.attach_url,
            )
        )
        await tx.sessions.add(session)
        await tx.outbox.announce(session, what="created", now=now)
        return session

    async def _start(self, session: Session) -> Session:
        try:
            browser = await self._nodes.start_browser(session)
        except (BrowserStartFailed, NodeUnavailable) as error:
            ended = await self._end(session.id, reason=CloseReason.START_FAILED, message=error.message)
            error.metadata.setdefault("session_id", ended.id)
            raise
        except FleetError as error:
            await self._end(session.id, reason=CloseReason.START_FAILED, message=error.message)
            raise BrowserStartFailed(f"The browser did not start: {error.message}", session_id=session.id) from error
        return await self._started(session, browser)

    async def _started(self, session: Session, browser: BrowserFacts) -> Session:
        async with self._database.transaction() as tx:
            current = await tx.sessions.lock(session.id)
            if current.state is SessionState.RUNNING and current.epoch == session.epoch:
                # A retried create was faster.
                return current
            if current.state is SessionState.STARTING and current.epoch == session.epoch:
                now = await tx.now()
                running = current.started(now=now, browser=browser)
                await tx.sessions.save(running)
                await tx.outbox.announce(running, what="started", now=now)
                await tx.outbox.schedule_deadline(running)
                self._relay.set()
                return running
        # Closed while it was starting: the close may have come to the node before the browser did.
        await self._stop_quietly(session, current.close_reason or CloseReason.USER_REQUESTED)
        raise SessionNotOpen(
            f"The session was ended while it was starting: {current.close_message}",
            session_id=session.id,
            state=str(current.state),
            close_reason=str(current.close_reason or ""),
        )

    async def _close(self, session_id: SessionId, *, reason: CloseReason, only_overdue: bool = False) -> Session:
        async with self._database.transaction() as tx:
            session = await tx.sessions.lock(session_id)
            now = await tx.now()
            if session.state.is_final or (only_overdue and not session.is_overdue(now=now)):
                return session
            closing = session.closing(now=now, reason=reason)
            if closing is not session:
                await tx.sessions.save(closing)
                await tx.outbox.announce(closing, what="closing", now=now)
        self._relay.set()
        with log_context(session_id=session_id):
            await self._stop_quietly(closing, closing.close_reason or reason)
            return await self._end(session_id, reason=reason)

    async def _stop_quietly(self, session: Session, reason: CloseReason) -> None:
        try:
            await self._nodes.stop_browser(session, reason=reason)
        except FleetError as error:
            # The node's next heartbeat is told that this browser should not run.
            log.warning("the node did not confirm the end of a browser: %s", error)

    async def _end(self, session_id: SessionId, *, reason: CloseReason, message: str = "") -> Session:
        async with self._database.transaction() as tx:
            ended = await end_session(tx, session_id, reason=reason, message=message)
        self._relay.set()
        return ended


async def end_session(
    tx: Transaction,
    session_id: SessionId,
    *,
    reason: CloseReason,
    message: str = "",
    holder: tuple[NodeId, int] | None = None,
) -> Session:
    """Bring a session into its final state and free its slot, once, whoever else tries.

    With `holder`, a node and an epoch, a session that they do not hold is left alone.
    """
    session = await tx.sessions.lock(session_id)
    if session.state.is_final or holder not in {None, session.holder}:
        return session
    now = await tx.now()
    ended = session.ended(now=now, reason=reason, message=message)
    await tx.sessions.save(ended)
    if ended.allocation is not None:
        await tx.nodes.release_slot(ended.allocation)
    await tx.outbox.announce(ended, what=ended.state.lower(), now=now)
    await tx.outbox.cancel_deadline(session_id)
    log.info("session %s ended: %s %s", session_id, ended.state, ended.close_reason)
    return ended


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"
