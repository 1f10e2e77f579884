"""How a session ends, whoever wants it to: once, with one reason, and its slot is free afterwards."""

import logging
from datetime import datetime

from fleetkit.errors import FleetError
from fleetkit.telemetry import log_context
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.session import Session, SessionState
from session_api.domain.usage import UsageRecord
from session_api.usecases.ports import Bells, Database, NodeGateway, Transaction

log = logging.getLogger(__name__)


class Ending:
    """Stops browsers and brings sessions into their final state."""

    def __init__(self, *, database: Database, nodes: NodeGateway, bells: Bells) -> None:
        self._database = database
        self._nodes = nodes
        self._bells = bells

    async def close(self, session_id: SessionId, *, reason: CloseReason) -> Session:
        """Stop a session's browser and return the session in its final state; one that has ended stays as it is.

        Raises SessionNotFound.
        """
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(session_id)
            closing = await begin_close(tx, session, now=now, reason=reason)
        return await self.finish_close(closing)

    async def finish_close(self, session: Session) -> Session:
        """Stop the browser of a session whose close has begun, and return the session in its final state."""
        self._bells.relay.set()
        if session.state.is_final or session.close_reason is None:
            self._bells.queue.set()
            return session
        with log_context(session_id=session.id):
            await self.stop_browser(session, session.close_reason)
            return await self.end(session.id, reason=session.close_reason)

    async def stop_browser(self, session: Session, reason: CloseReason) -> None:
        """Have the node stop a browser. When it does not answer, its next heartbeat tells it to."""
        if session.allocation is None:
            return
        try:
            await self._nodes.stop_browser(session, reason=reason)
        except FleetError as error:
            log.warning("the node did not confirm the end of a browser: %s", error)

    async def end(
        self,
        session_id: SessionId,
        *,
        reason: CloseReason,
        message: str = "",
        holder: tuple[NodeId, int] | None = None,
    ) -> Session:
        """Bring a session into its final state, without its browser. Raises SessionNotFound.

        With `holder`, a node and an epoch, a session that they do not hold is left alone.
        """
        async with self._database.transaction() as tx:
            session, now = await tx.sessions.lock(session_id)
            if holder in {None, session.holder}:
                session = await end_session(tx, session, now=now, reason=reason, message=message)
        self._bells.relay.set()
        self._bells.queue.set()
        return session


async def begin_close(tx: Transaction, session: Session, *, now: datetime, reason: CloseReason) -> Session:
    """Bring a locked session to CLOSING, or to its end where it has no browser. One that is ending stays as it is."""
    if session.state is SessionState.QUEUED:
        return await end_session(tx, session, now=now, reason=reason)
    closing = session.closing(now=now, reason=reason)
    if closing is not session:
        await tx.sessions.save(closing)
        await tx.outbox.announce(closing, what="closing", now=now)
    return closing


async def end_session(
    tx: Transaction, session: Session, *, now: datetime, reason: CloseReason, message: str = ""
) -> Session:
    """Bring a locked session into its final state, free its slot and write its usage: once, whoever else tries."""
    if session.state.is_final:
        return session
    ended = session.ended(now=now, reason=reason, message=message)
    await tx.sessions.save(ended)
    record = UsageRecord.of(ended)
    if record is not None:
        await tx.usage.add(record)
        await tx.outbox.cancel_schedule(session.id)
    await tx.outbox.announce(ended, what=ended.state.lower(), now=now)
    # Last, because every create waits for this row.
    if ended.allocation is not None:
        await tx.nodes.release_slot(ended.allocation)
    log.info("session %s ended: %s %s", session.id, ended.state, ended.close_reason)
    return ended
