"""What falls due is done: by the database's clock, once, whoever asks for it."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetkit.lifecycle import OwnedTasks
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import SessionId
from session_api.domain.node import Node
from session_api.domain.session import Due, Session
from session_api.usecases.control_news import is_news_of_control, tell_node_of_control
from session_api.usecases.ending import Ending, begin_close, end_session
from session_api.usecases.ports import Bells, Database, NodeGateway, Transaction

log = logging.getLogger(__name__)

# A pass over the nodes takes on so much; the next one comes soon.
_SESSIONS_A_PASS = 500
_AT_ONCE = 8
# Passes come every two seconds. After a longer break nobody knows who was silent by fault of their own.
_LONGEST_BREAK = timedelta(seconds=6)
# Whoever counts time by another clock may come early by so much; it is waited for.
_EARLY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesReaped:
    """What a pass over the nodes did."""

    lost: int
    failed: int
    drained: int


@dataclass(frozen=True, slots=True)
class _Reaped:
    """A session after what was due is done, and whether that was to end it."""

    session: Session
    is_ending: bool


class Reaping:
    """Does what is due for sessions and for nodes. Safe beside any number of others."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: NodeGateway,
        ending: Ending,
        tasks: OwnedTasks,
        bells: Bells,
        lease: timedelta,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._ending = ending
        self._tasks = tasks
        self._bells = bells
        self._lease = lease
        self._draining = asyncio.Lock()

    async def reap(self, session_id: SessionId) -> Session:
        """Do what is due for a session and return it as it is then. Raises SessionNotFound."""
        reaped, early = await self._pass(session_id)
        if early is not None:
            await asyncio.sleep(early.total_seconds())
            reaped, _ = await self._pass(session_id)
        return (
            await self._tasks.finish(self._ending.finish_close(reaped.session)) if reaped.is_ending else reaped.session
        )

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
        return NodesReaped(lost=len(lost), failed=failed, drained=await self.close_drained())

    async def fail_orphans(self) -> int:
        """End the sessions whose node is lost or has begun a new life; return how many there were."""
        async with self._database.single() as tx:
            orphans = await tx.sessions.orphaned(limit=_SESSIONS_A_PASS)
        # One session a transaction, always session before node: two rows locked in one order cannot deadlock.
        failed = [session_id for session_id in orphans if await self._fail_orphan(session_id)]
        if failed:
            self._bells.relay.set()
            self._bells.queue.set()
        return len(failed)

    async def close_drained(self) -> int:
        """Begin to close what is left on nodes whose drain is due; return how many sessions there are.

        The closing itself goes on in the background: a node that does not answer must not hold up the next pass.
        """
        async with self._database.single() as tx:
            left = await tx.sessions.on_drained_nodes(limit=_SESSIONS_A_PASS)
        if left and not self._draining.locked():
            _ = self._tasks.start(self._close_all(left))
        return len(left)

    async def _fail_orphan(self, session_id: SessionId) -> bool:
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(session_id)
            node = await _node_of(tx, session)
            # It may have moved on to another node since it was found.
            if session.allocation is None or node is None or not node.has_lost(session.allocation):
                return False
            await end_session(tx, session, now=now, reason=CloseReason.NODE_LOST)
        return True

    async def _pass(self, session_id: SessionId) -> tuple[_Reaped, timedelta | None]:
        """Do what is due; also return how long to wait when the countdown's next instant is about to come."""
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(session_id)
            done = await self._do_what_is_due(tx, session, now)
        self._bells.relay.set()
        if is_news_of_control(session, done):
            # Whoever reaps waits for no node.
            _ = self._tasks.start(tell_node_of_control(self._nodes, done))
        # A close that somebody else has begun is theirs to finish.
        reaped = _Reaped(session=done, is_ending=done is not session and done.close_reason is not None)
        countdown = session.countdown_time if done is session else None
        early = countdown - now if countdown is not None else None
        return reaped, early if early is not None and timedelta(0) < early <= _EARLY else None

    async def _do_what_is_due(self, tx: Transaction, session: Session, now: datetime) -> Session:
        # An idle time that nobody could report about does not count.
        node = await _node_of(tx, session) if session.idle else None
        match session.due(now=now, report_time=node.report_time if node else None):
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

    async def _begin_drained(self, session_id: SessionId) -> Session | None:
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(session_id)
            node = await _node_of(tx, session)
            # It may have moved on to another node since it was found, or the node was uncordoned.
            if node is None or not node.is_drained(now=now):
                return None
            closing = await begin_close(tx, session, now=now, reason=CloseReason.NODE_DRAINED)
        return closing if closing is not session else None

    async def _close_all(self, session_ids: list[SessionId]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def close(session_id: SessionId) -> None:
            async with room:
                closing = await self._begin_drained(session_id)
                if closing is not None:
                    await self._ending.finish_close(closing)

        async with self._draining:
            await asyncio.gather(*(close(session_id) for session_id in session_ids))


async def _node_of(tx: Transaction, session: Session) -> Node | None:
    return await tx.nodes.get(session.allocation.node_id) if session.allocation else None


async def _announced(tx: Transaction, session: Session, *, what: str) -> Session:
    await tx.sessions.save(session)
    await tx.outbox.announce(session, what=what, now=await tx.now())
    return session
