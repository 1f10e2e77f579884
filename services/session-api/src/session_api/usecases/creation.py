"""How a session comes up: a place for it, then its browser."""

import hashlib
import logging
from collections.abc import Set
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.errors import FleetError
from fleetkit.ids import IdSource
from session_api.domain.caller import Caller
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    NodeUnavailable,
    RequestIdReused,
    SessionNotOpen,
)
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
from session_api.usecases.ending import Ending
from session_api.usecases.ports import Database, NodeGateway, SessionExists, Transaction, Wakeups

log = logging.getLogger(__name__)

_RETRY_WHEN_FULL = timedelta(seconds=5)
# A node that died a moment ago still looks like the emptiest one.
_MOST_NODES_TRIED = 3


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


class Creation:
    """Allocates sessions and starts their browsers."""

    def __init__(
        self, *, database: Database, nodes: NodeGateway, ids: IdSource, relay: Wakeups, ending: Ending
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._ids = ids
        self._relay = relay
        self._ending = ending

    async def allocate(self, caller: Caller, request: NewSession) -> Session:
        """Return a new session with its slot, or the one that the request's idempotency key made before.

        Raises RequestIdReused, NoCapableNode, NoCapacity.
        """
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

    async def start(self, session: Session, tried: Set[NodeId] = frozenset()) -> Session:
        """Start the browser of an allocated session and return the session RUNNING.

        When its node does not answer, the session moves to another one, under its next epoch. Raises
        BrowserStartFailed or NodeUnavailable, the session is FAILED then; SessionNotOpen when somebody ended it.
        """
        try:
            browser = await self._nodes.start_browser(session)
        except NodeUnavailable as error:
            tried = tried | ({session.allocation.node_id} if session.allocation else set())
            moved = await self._move(session, tried)
            if moved is not None:
                return await self.start(moved, tried)
            await self._fail(session, error)
            raise
        except BrowserStartFailed as error:
            await self._fail(session, error)
            raise
        except FleetError as error:
            await self._fail(session, error)
            raise BrowserStartFailed(f"The browser did not start: {error.message}", session_id=session.id) from error
        return await self._started(session, browser)

    async def _found(self, tx: Transaction, caller: Caller, request: NewSession) -> Session | None:
        if not request.request_id:
            return None
        session = await tx.sessions.by_request(caller.organization_id, request.request_id)
        if session is not None and session.request_digest != request.digest:
            raise RequestIdReused("This request_id was used for another request.", session_id=session.id)
        return session

    async def _place(self, tx: Transaction, caller: Caller, request: NewSession) -> Session:
        allocation = await _take_slot(tx, request.spec)
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
        ).allocated(allocation)
        await tx.sessions.add(session)
        await tx.outbox.announce(session, what="created", now=now)
        return session

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
        await self._ending.stop_browser(session, current.close_reason or CloseReason.USER_REQUESTED)
        raise SessionNotOpen(
            f"The session was ended while it was starting: {current.close_message}",
            session_id=session.id,
            state=str(current.state),
            close_reason=str(current.close_reason or ""),
        )

    async def _move(self, session: Session, tried: Set[NodeId]) -> Session | None:
        """Give the session's slot back and take one of a node that was not tried; None when there is none.

        Two transactions, so that no transaction ever locks two nodes. The node that did not answer is told by its
        next heartbeat that this session is not its own.
        """
        if session.allocation is None or len(tried) >= _MOST_NODES_TRIED:
            return None
        async with self._database.transaction() as tx:
            current = await tx.sessions.lock(session.id)
            if current.state is not SessionState.STARTING or current.holder != session.holder:
                return None
            await tx.sessions.save(current.unallocated())
            await tx.nodes.release_slot(session.allocation)
        async with self._database.transaction() as tx:
            current = await tx.sessions.lock(session.id)
            if current.state is not SessionState.STARTING or current.allocation is not None:
                return None
            try:
                allocation = await _take_slot(tx, current.spec, tried)
            except (NoCapableNode, NoCapacity):
                return None
            await tx.sessions.save(current.allocated(allocation))
        log.warning("session %s moves on: %s did not answer", session.id, session.allocation.node_id)
        async with self._database.transaction() as tx:
            return await tx.sessions.get(session.id)

    async def _fail(self, session: Session, error: FleetError) -> None:
        await self._ending.end(session.id, reason=CloseReason.START_FAILED, message=error.message)
        error.metadata.setdefault("session_id", session.id)


async def _take_slot(tx: Transaction, spec: BrowserSpec, tried: Set[NodeId] = frozenset()) -> Allocation:
    for node in candidates(await tx.nodes.all(), spec):
        if node.id not in tried and await tx.nodes.take_slot(node):
            return Allocation(
                node_id=node.id,
                registration_id=node.registration_id,
                node_address=node.address,
                attach_url=node.attach_url,
            )
    raise NoCapacity("Every slot of the fleet is taken.", retry_after=_RETRY_WHEN_FULL)


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"
