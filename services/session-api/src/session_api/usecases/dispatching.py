"""The queue moves: free slots go to those whose turn it is."""

import logging

from fleetkit.errors import FleetError
from fleetkit.lifecycle import OwnedTasks
from fleetkit.telemetry import log_context
from session_api.domain.node import Node
from session_api.domain.organization import may_open
from session_api.domain.queue import QueuePlace, Share, Waiting, fair_order, reason_of
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Bells, Database, Transaction
from session_api.usecases.starting import Starting
from session_api.usecases.turns import next_turns

log = logging.getLogger(__name__)

_EVERYONE = 1_000_000


class Dispatching:
    """Places queued sessions. Any number of replicas may do so at once: each placement is a compare-and-set."""

    def __init__(self, *, database: Database, starting: Starting, tasks: OwnedTasks, bells: Bells) -> None:
        self._database = database
        self._starting = starting
        self._tasks = tasks
        self._bells = bells

    async def dispatch(self) -> int:
        """One pass; return how many sessions were placed. Their browsers start in the background."""
        async with self._database.single() as tx:
            turns = await next_turns(tx)
        placed = 0
        for entry, node in turns:
            session = await self._place(entry, node)
            if session is not None:
                placed += 1
                _ = self._tasks.start(self._start(session))
        if placed:
            self._bells.relay.set()
        return placed

    async def place_of(self, session: Session) -> QueuePlace | None:
        """Return where a session stands in the queue; None when it does not wait."""
        if session.state is not SessionState.QUEUED or session.queue_expire_time is None:
            return None
        async with self._database.transaction() as tx:
            waiting, shares, nodes = (
                await tx.queue.waiting(limit=_EVERYONE),
                await tx.queue.shares(),
                await tx.nodes.all(),
            )
        order = fair_order(waiting, shares)
        for position, entry in enumerate(order, start=1):
            if entry.session_id == session.id:
                reason = reason_of(entry, nodes, shares.get(entry.organization_id, Share()))
                return QueuePlace(position=position, reason=reason, expire_time=session.queue_expire_time)
        return None

    async def _place(self, entry: Waiting, node: Node) -> Session | None:
        """Give a queued session its slot; None when somebody was faster, at the session or at the slot."""
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(entry.session_id)
            if session.state is not SessionState.QUEUED or not await _within_quota(tx, session):
                return None
            if not await tx.nodes.take_slot(node):
                return None
            placed = session.placed(node.allocation, now=now)
            await tx.sessions.save(placed)
            await tx.outbox.announce(placed, what="created", now=now)
        async with self._database.single() as tx:
            return await tx.sessions.get(placed.id)

    async def _start(self, session: Session) -> None:
        with log_context(session_id=session.id):
            try:
                await self._starting.start(session)
            except FleetError as error:
                # The session says so itself; whoever waits for it reads it there.
                log.warning("a queued session did not start: %s", error.message)


async def _within_quota(tx: Transaction, session: Session) -> bool:
    limits = (await tx.organizations.get(session.organization_id)).limits
    if limits.max_open_sessions is None:
        return True
    used = await tx.organizations.lock_consumption(session.organization_id, now=await tx.now())
    return may_open(limits, used.open_sessions)
