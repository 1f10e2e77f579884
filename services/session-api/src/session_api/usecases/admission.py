"""How a session comes to a place: a slot on a node, or one in the queue."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetkit.errors import ResourceExhausted
from fleetkit.ids import IdSource
from session_api.domain.browser import BrowserSpec, SpecSecrets
from session_api.domain.caller import Caller
from session_api.domain.errors import NoCapacity, QueueFull, QuotaExceeded, RequestIdReused
from session_api.domain.identifiers import SessionId
from session_api.domain.node import Node
from session_api.domain.organization import check_quota, may_open
from session_api.domain.queue import Waiting
from session_api.domain.session import DEFAULT_TIMEOUT, Allocation, IdlePolicy, Session
from session_api.usecases.ports import Bells, Database, Intake, SessionExists, Transaction
from session_api.usecases.slots import Slots
from session_api.usecases.turns import next_turns

_RETRY_WHEN_FULL = timedelta(seconds=5)


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


class Admission:
    """Makes sessions, each with a slot or with a place in the queue."""

    def __init__(self, *, database: Database, ids: IdSource, bells: Bells, slots: Slots, queue: QueuePolicy) -> None:
        self._database = database
        self._ids = ids
        self._bells = bells
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

    async def _allocate(self, caller: Caller, request: NewSession) -> Session:
        if not caller.limits.count_something:
            session = await self._place(caller, request)
            if session is not None:
                return session
        return await self._place_or_queue(caller, request)

    async def _place(self, caller: Caller, request: NewSession) -> Session | None:
        """Do what nearly every create comes down to in two statements; None when it takes more than that."""
        async with self._database.single() as tx:
            intake = await tx.sessions.intake(caller.organization_id, request.request_id, request.spec.browser_type)
            if intake.existing is not None:
                return _same_request(intake.existing, request)
            if intake.has_queue:
                return None
            new = self._new(caller, request, now=intake.now)

            async def claim(node: Node) -> bool:
                return await tx.sessions.add_placed(new.placed(node.allocation, now=intake.now), node, now=intake.now)

            allocation = await self._slots.take(tx, new.spec, claim=claim)
        return new.placed(allocation, now=intake.now) if allocation is not None else None

    async def _place_or_queue(self, caller: Caller, request: NewSession) -> Session:
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


def _same_request(session: Session, request: NewSession) -> Session:
    if session.request_digest != request.digest:
        raise RequestIdReused("This request_id was used for another request.", session_id=session.id)
    return session


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"
