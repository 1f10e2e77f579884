"""Who holds a session and who controls it: tasks and agents occupy, people take control."""

from collections.abc import Callable
from datetime import datetime, timedelta

from session_api.domain.caller import Caller
from session_api.domain.identifiers import SessionId
from session_api.domain.leases import HolderKind
from session_api.domain.session import Session
from session_api.usecases.control_news import is_news_of_control, tell_node_of_control
from session_api.usecases.ports import Bells, Database, NodeGateway


class Leasing:
    """Gives and takes back the two leases of a session. Raises SessionNotFound in every method."""

    def __init__(self, *, database: Database, nodes: NodeGateway, bells: Bells) -> None:
        self._database = database
        self._nodes = nodes
        self._bells = bells

    async def occupy(
        self, caller: Caller, session_id: SessionId, *, kind: HolderKind, holder_id: str, ttl: timedelta | None
    ) -> Session:
        """Let a run hold a session, or renew its lease. Raises SessionNotOpen, SessionOccupied."""
        return await self._change(
            caller,
            session_id,
            lambda session, now: session.occupied(kind, holder_id, now=now, ttl=ttl),
            what="occupied",
        )

    async def release(self, caller: Caller, session_id: SessionId, *, generation: int) -> Session:
        """End a holding; one that has ended already changes nothing."""
        return await self._change(
            caller, session_id, lambda session, now: session.released(generation, now=now), what="released"
        )

    async def take_control(
        self, caller: Caller, session_id: SessionId, *, holder: str, ttl: timedelta, take_over: bool
    ) -> Session:
        """Give control to a person, or prolong it. Raises SessionNotOpen, ControlTaken."""
        return await self._change(
            caller,
            session_id,
            lambda session, now: session.controlled(holder, now=now, ttl=ttl, take_over=take_over),
            what="control_taken",
        )

    async def release_control(self, caller: Caller, session_id: SessionId, *, generation: int) -> Session:
        """Hand control back; control that has gone already changes nothing."""
        return await self._change(
            caller,
            session_id,
            lambda session, now: session.uncontrolled(generation, now=now),
            what="control_released",
        )

    async def _change(
        self, caller: Caller, session_id: SessionId, change: Callable[[Session, datetime], Session], *, what: str
    ) -> Session:
        async with self._database.transaction() as tx:
            await tx.sessions.get(session_id, organization_id=caller.visible_organization)
            session, now = await tx.sessions.lock(session_id)
            changed = change(session, now)
            if changed is session:
                return session
            await tx.sessions.save(changed)
            # A lease that was only prolonged is no news.
            if changed.sequence != session.sequence:
                await tx.outbox.announce(changed, what=what, now=now)
        self._bells.relay.set()
        if is_news_of_control(session, changed):
            await tell_node_of_control(self._nodes, changed)
        return changed
