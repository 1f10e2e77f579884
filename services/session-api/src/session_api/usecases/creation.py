"""How a session comes up: a place for it, or a place in the queue, then its browser."""

import hashlib
import json
import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetkit.errors import FleetError, InvalidArgument, ResourceExhausted
from fleetkit.ids import IdSource
from session_api.domain.browser import BrowserFacts, BrowserSpec, SpecSecrets
from session_api.domain.caller import Caller
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    NodeUnavailable,
    OptionUnavailable,
    ProxyUnreachable,
    QueueFull,
    QuotaExceeded,
    RequestIdReused,
    SessionNotOpen,
)
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.organization import check_quota, may_open
from session_api.domain.queue import Waiting
from session_api.domain.session import DEFAULT_TIMEOUT, Allocation, IdlePolicy, Session, SessionState
from session_api.usecases.ending import Ending, end_session
from session_api.usecases.ports import Bells, Database, Intake, NodeGateway, SessionExists, Transaction
from session_api.usecases.slots import Slots
from session_api.usecases.turns import next_turns

log = logging.getLogger(__name__)

_RETRY_WHEN_FULL = timedelta(seconds=5)
# A node that died a moment ago still looks like the emptiest one.
_MOST_NODES_TRIED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a caller asks for; None takes the default. Its secrets are sealed before it is stored."""

    spec: BrowserSpec
    secrets: SpecSecrets = field(default_factory=SpecSecrets, repr=False)
    sealed_secrets: str = field(default="", repr=False)
    # Tells the secrets from others.
    secrets_fingerprint: str = field(default="", repr=False)
    timeout: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    idle: IdlePolicy | None = None
    queue_timeout: timedelta | None = None
    request_id: str = ""

    @property
    def digest(self) -> str:
        """Tells two requests under one idempotency key apart."""
        text = f"{self.spec.browser_type}|{self.timeout}"
        further = (sorted(self.labels.items()), self.idle, self.queue_timeout)
        if any(further) or self.queue_timeout is not None:
            # Only what is asked for counts, so that a retry finds its session also after an upgrade.
            text += json.dumps([str(part) for part in further])
        if self.spec.wishes:
            text += json.dumps([self.spec.wishes, self.secrets_fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How long a session waits for a slot unless it says so itself, and how many may wait."""

    timeout: timedelta = timedelta(minutes=5)
    limit: int = 10_000


class Creation:
    """Allocates sessions and starts their browsers."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: NodeGateway,
        ids: IdSource,
        bells: Bells,
        ending: Ending,
        slots: Slots,
        queue: QueuePolicy,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._ids = ids
        self._bells = bells
        self._ending = ending
        self._slots = slots
        self._queue = queue

    async def allocate(self, caller: Caller, request: NewSession) -> Session:
        """Return a new session, STARTING with its slot or QUEUED, or the one that the request's key made before.

        Raises RequestIdReused, NoCapableNode, OptionUnavailable, QuotaExceeded, and without a wish to wait NoCapacity
        or QueueFull.
        """
        try:
            return await self._allocate(caller, request)
        except SessionExists:
            # Another call with the same idempotency key was faster, and is found now.
            return await self._allocate(caller, request)
        except ResourceExhausted:
            # What was missing may be what another call with the same idempotency key has taken.
            existing = await self._found(caller, request) if request.request_id else None
            if existing is None:
                raise
            return existing
        finally:
            self._bells.relay.set()

    async def start(self, session: Session, tried: Set[NodeId] = frozenset()) -> Session:
        """Start the browser of an allocated session and return the session RUNNING.

        When its node does not answer, the session moves to another one, under its next epoch. Raises
        BrowserStartFailed, NodeUnavailable, or what the node finds wrong with an option as OptionUnavailable,
        ProxyUnreachable or InvalidArgument: the session is FAILED then; SessionNotOpen when somebody ended it.
        """
        if session.allocation is None:
            # Another create under the same key gave up its node, and has yet to take a slot of the next one, or died.
            return await self._start_elsewhere(session, tried, NodeUnavailable("The session has no node."))
        try:
            browser = await self._nodes.start_browser(session)
        except NodeUnavailable as error:
            return await self._start_elsewhere(session, tried | {session.allocation.node_id}, error)
        except (BrowserStartFailed, OptionUnavailable, ProxyUnreachable, InvalidArgument) as error:
            await self._fail(session, error)
            raise
        except FleetError as error:
            await self._fail(session, error)
            raise BrowserStartFailed(f"The browser did not start: {error.message}", session_id=session.id) from error
        return await self._started(session, browser)

    async def _allocate(self, caller: Caller, request: NewSession) -> Session:
        async with self._database.transaction() as tx:
            intake = await tx.sessions.intake(caller.organization_id, request.request_id, request.spec.browser_type)
            if intake.existing is not None:
                return _same_request(intake.existing, request)
            new = self._new(caller, request, now=intake.now)
            may_have_slot = await self._within_quota(tx, caller, now=intake.now)
            allocation = await self._take_slot(tx, new, intake) if may_have_slot else None
            if allocation is None:
                await self._slots.require_capable(tx, request.spec)
            if allocation is not None:
                session, what = new.placed(allocation, now=intake.now), "created"
            else:
                wait = self._queue.timeout if request.queue_timeout is None else request.queue_timeout
                await self._check_queue(tx, caller, wait, may_have_slot=may_have_slot)
                session, what = new.queued(until=intake.now + wait), "queued"
            await tx.sessions.add(session)
            await tx.outbox.announce(session, what=what, now=intake.now)
        if what == "queued":
            # A slot may have come free between looking for one and standing in the queue.
            self._bells.queue.set()
        return session

    async def _found(self, caller: Caller, request: NewSession) -> Session | None:
        async with self._database.single() as tx:
            intake = await tx.sessions.intake(caller.organization_id, request.request_id, request.spec.browser_type)
        return _same_request(intake.existing, request) if intake.existing is not None else None

    def _new(self, caller: Caller, request: NewSession, *, now: datetime) -> Session:
        limit = caller.limits.lifetime
        asked = request.timeout or DEFAULT_TIMEOUT
        capped = f"The timeout of {_minutes(asked)} was capped to this organization's limit of {_minutes(limit)}."
        return Session(
            id=SessionId(self._ids.new("pbs")),
            organization_id=caller.organization_id,
            spec=request.spec,
            sealed_secrets=request.sealed_secrets,
            timeout=min(asked, limit),
            lifetime_limit=limit,
            labels=request.labels,
            idle=request.idle,
            create_time=now,
            state_time=now,
            warnings=(capped,) if asked > limit and request.timeout is not None else (),
            request_id=request.request_id,
            request_digest=request.digest,
        )

    async def _within_quota(self, tx: Transaction, caller: Caller, *, now: datetime) -> bool:
        """Whether the organization may have one more open session now. Raises QuotaExceeded for what waiting is no
        help against.
        """
        if not caller.limits.count_something:
            return True
        used = await tx.organizations.lock_consumption(caller.organization_id, now=now)
        check_quota(caller.limits, used, now=now)
        return may_open(caller.limits, used.open_sessions)

    async def _take_slot(self, tx: Transaction, new: Session, intake: Intake) -> Allocation | None:
        """Take a slot unless others come first. Raises NoCapableNode, OptionUnavailable."""
        if not intake.has_queue:
            return await self._slots.take(tx, new.spec)
        newcomer = Waiting(session_id=new.id, organization_id=new.organization_id, need=new.spec.need)
        for entry, node in await next_turns(tx, newcomer=newcomer):
            if entry is newcomer and await tx.nodes.take_slot(node):
                return node.allocation
        return None

    async def _check_queue(self, tx: Transaction, caller: Caller, wait: timedelta, *, may_have_slot: bool) -> None:
        if wait <= timedelta(0):
            if may_have_slot:
                raise NoCapacity("Every slot of the fleet is taken.", retry_after=_RETRY_WHEN_FULL)
            limit = str(caller.limits.max_open_sessions)
            raise QuotaExceeded(
                f"The organization may have {limit} sessions open.",
                retry_after=_RETRY_WHEN_FULL,
                quota="open_sessions",
                limit=limit,
                used=limit,
            )
        if await tx.queue.size() >= self._queue.limit:
            raise QueueFull(f"{self._queue.limit} sessions wait already.", retry_after=_RETRY_WHEN_FULL)

    async def _started(self, session: Session, browser: BrowserFacts) -> Session:
        async with self._database.transaction() as tx:
            current, now = await tx.sessions.lock(session.id)
            if current.state is SessionState.RUNNING and current.epoch == session.epoch:
                # A retried create was faster.
                return current
            if current.state is SessionState.STARTING and current.holder == session.holder:
                running = current.started(now=now, browser=browser)
                await tx.sessions.save(running)
                await tx.outbox.announce(running, what="started", now=now)
                await tx.outbox.schedule(running)
                self._bells.relay.set()
                return running
        # Closed while it was starting: the close may have come to the node before the browser did.
        await self._ending.stop_browser(session, current.close_reason or CloseReason.USER_REQUESTED)
        moved = await self._move(session, frozenset())
        if moved is not None:
            return await self._go_on(moved, frozenset())
        raise SessionNotOpen(
            f"The session was ended while it was starting: {current.close_message}",
            session_id=session.id,
            state=str(current.state),
            close_reason=str(current.close_reason or ""),
        )

    async def _start_elsewhere(self, session: Session, tried: Set[NodeId], error: NodeUnavailable) -> Session:
        moved = await self._move(session, tried)
        if moved is not None:
            return await self._go_on(moved, tried)
        await self._fail(session, error)
        raise error

    async def _go_on(self, moved: Session, tried: Set[NodeId]) -> Session:
        # Another create under the same key may have brought it up already.
        return moved if moved.state is SessionState.RUNNING else await self.start(moved, tried)

    async def _move(self, session: Session, tried: Set[NodeId]) -> Session | None:
        """Give the session's slot back and take one of a node that was not tried; None when there is none.

        A session that another create under the same key has moved on, or has up, is returned as it is then. Two
        transactions, so that no transaction ever locks two nodes. The node that did not answer is told by its next
        heartbeat that this session is not its own.
        """
        if len(tried) >= _MOST_NODES_TRIED:
            return None
        if session.allocation is not None:
            async with self._database.transaction() as tx:
                current, _ = await tx.sessions.lock(session.id)
                if current.state is SessionState.STARTING and current.holder == session.holder:
                    await tx.sessions.save(current.unallocated())
                    await tx.nodes.release_slot(session.allocation)
        async with self._database.transaction() as tx:
            current, now = await tx.sessions.lock(session.id)
            if current.allocation is not None and current.state in {SessionState.STARTING, SessionState.RUNNING}:
                return current
            if current.state is not SessionState.STARTING:
                return None
            try:
                allocation = await self._slots.take(tx, current.spec, tried=tried)
            except (NoCapableNode, OptionUnavailable):
                return None
            if allocation is None:
                return None
            await tx.sessions.save(current.allocated(allocation, now=now))
        log.warning("session %s moves on to %s", session.id, allocation.node_id)
        async with self._database.single() as tx:
            return await tx.sessions.get(session.id)

    async def _fail(self, session: Session, error: FleetError) -> None:
        async with self._database.transaction() as tx:
            current, now = await tx.sessions.lock(session.id)
            # What another create under the same key has moved on, or has up, stays.
            if current.state is SessionState.STARTING and current.epoch == session.epoch:
                await end_session(tx, current, now=now, reason=CloseReason.START_FAILED, message=error.message)
        self._bells.relay.set()
        self._bells.queue.set()
        error.metadata.setdefault("session_id", session.id)


def _same_request(session: Session, request: NewSession) -> Session:
    if session.request_digest != request.digest:
        raise RequestIdReused("This request_id was used for another request.", session_id=session.id)
    return session


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"
