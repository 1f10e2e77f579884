"""How a session ends, whoever wants it to: once, with one reason, and its slot is free afterwards."""

import logging

from fleetkit.errors import FleetError
from fleetkit.telemetry import log_context
from session_api.domain.session import CloseReason, NodeId, Session, SessionId
from session_api.usecases.ports import Database, NodeGateway, Transaction, Wakeups

log = logging.getLogger(__name__)


class Ending:
    """Stops browsers and brings sessions into their final state."""

    def __init__(self, *, database: Database, nodes: NodeGateway, relay: Wakeups) -> None:
        self._database = database
        self._nodes = nodes
        self._relay = relay

    async def close(self, session_id: SessionId, *, reason: CloseReason, only_overdue: bool = False) -> Session:
        """Stop a session's browser and return the session in its final state; one that has ended stays as it is.

        With `only_overdue`, so does one whose deadline has not come. Raises SessionNotFound.
        """
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
            await self.stop_browser(closing, closing.close_reason or reason)
            return await self.end(session_id, reason=reason)

    async def stop_browser(self, session: Session, reason: CloseReason) -> None:
        """Have the node stop a browser. When it does not answer, its next heartbeat tells it to."""
        if session.allocation is None:
            return
        try:
            await self._nodes.stop_browser(session, reason=reason)
        except FleetError as error:
            log.warning("the node did not confirm the end of a browser: %s", error)

    async def end(self, session_id: SessionId, *, reason: CloseReason, message: str = "") -> Session:
        """Bring a session into its final state, without its browser. Raises SessionNotFound."""
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
