"""What falls due is done: by the database's clock, once, whoever asks for it."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Due, Session
from session_api.usecases.ending import Ending, begin_close, end_session
from session_api.usecases.ports import Bells, Database, Transaction

log = logging.getLogger(__name__)

# A pass over the nodes takes on so much; the next one comes soon.
_SESSIONS_A_PASS = 1000
_AT_ONCE = 8
# Passes come every two seconds. After a longer break nobody knows who was silent by fault of their own.
_LONGEST_BREAK = timedelta(seconds=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesReaped:
    """What a pass over the nodes did."""

    lost: int
    failed: int
    drained: int


class Reaping:
    """Does what is due for sessions and for nodes. Safe beside any number of others."""

    def __init__(self, *, database: Database, ending: Ending, bells: Bells, lease: timedelta) -> None:
        self._database = database
        self._ending = ending
        self._bells = bells
        self._lease = lease

    async def reap(self, session_id: SessionId) -> Session:
        """Do what is due for a session and return it as it is then. Raises SessionNotFound."""
        async with self._database.transaction() as tx:
            session = await self._do_what_is_due(tx, session_id)
        return await self._ending.finish_close(session)

    async def reap_nodes(self) -> NodesReaped:
        """One pass: sessions of nodes that were silent for longer than their lease fail, and drains that are due end.

        Silence counts only while such passes are made: while the database or all of session-api was away no
        heartbeat could arrive, and silence proves nothing.
        """
        async with self._database.transaction() as tx:
            now = await tx.now()
            since = await tx.nodes.watch(now=now, longest_gap=_LONGEST_BREAK)
            lost = await tx.nodes.give_up(silent_since=now - self._lease) if now - since >= self._lease else []
            for node in lost:
                log.warning("node %s (%s) is lost", node.id, node.name)
                await tx.outbox.announce_node(node, what="lost", now=now)
        failed = await self.fail_orphans()
        async with self._database.single() as tx:
            left = await tx.sessions.on_drained_nodes(limit=_SESSIONS_A_PASS)
        await self._all(left, CloseReason.NODE_DRAINED)
        return NodesReaped(lost=len(lost), failed=failed, drained=len(left))

    async def fail_orphans(self) -> int:
        """End the sessions whose node is lost or has begun a new life; return how many there were."""
        async with self._database.single() as tx:
            orphans = await tx.sessions.orphaned(limit=_SESSIONS_A_PASS)
        for session_id in orphans:
            # One session a transaction, always session before node: two rows locked in one order cannot deadlock.
            await self._ending.end(session_id, reason=CloseReason.NODE_LOST)
        return len(orphans)

    async def close_drained(self) -> None:
        """Close what is left on nodes whose drain is due, at once."""
        async with self._database.single() as tx:
            left = await tx.sessions.on_drained_nodes(limit=_SESSIONS_A_PASS)
        await self._all(left, CloseReason.NODE_DRAINED)

    async def _do_what_is_due(self, tx: Transaction, session_id: SessionId) -> Session:
        session, now = await tx.sessions.lock(session_id)
        # An idle time that nobody could report about does not count.
        node = await tx.nodes.get(session.allocation.node_id) if session.idle and session.allocation else None
        match session.due(now=now, report_time=node.heartbeat_time if node else None):
            case Due.DEADLINE:
                return await begin_close(tx, session, now=now, reason=CloseReason.TIMED_OUT)
            case Due.IDLE:
                return await begin_close(tx, session, now=now, reason=CloseReason.IDLE)
            case Due.QUEUE_TIMEOUT:
                return await end_session(tx, session, now=now, reason=CloseReason.QUEUE_TIMED_OUT)
            case Due.START_LEFT:
                return await end_session(tx, session, now=now, reason=CloseReason.START_FAILED)
            case Due.STOP_LEFT:
                return await end_session(tx, session, now=now, reason=session.close_reason or CloseReason.NODE_LOST)
            case Due.WARNING:
                warned = session.expiring(now=now)
                await tx.outbox.schedule(warned)
                return await _announced(tx, warned, what="expiring")
            case Due.OCCUPANCY_END:
                return await _announced(tx, session.released(session.holdings, now=now), what="released")
            case Due.CONTROL_END:
                return await _announced(tx, session.uncontrolled(session.controls, now=now), what="control_released")
            case None if session.due_time is not None and session.due_time > now:
                # The stored hint is old: reports have moved the idle timeout since.
                await tx.sessions.save(session)
        return session

    async def _all(self, session_ids: list[SessionId], reason: CloseReason) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def close(session_id: SessionId) -> None:
            async with room:
                await self._ending.close(session_id, reason=reason)

        await asyncio.gather(*(close(session_id) for session_id in session_ids))


async def _announced(tx: Transaction, session: Session, *, what: str) -> Session:
    await tx.sessions.save(session)
    await tx.outbox.announce(session, what=what, now=await tx.now())
    return session
