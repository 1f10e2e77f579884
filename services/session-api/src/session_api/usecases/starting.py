"""How the browser of an allocated session comes up, on this node or on another."""

import contextlib
import logging
from collections.abc import Set

from fleetkit.errors import FleetError, InvalidArgument
from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NodeUnavailable,
    OptionUnavailable,
    ProxyUnreachable,
    SessionChanged,
    SessionNotOpen,
)
from session_api.domain.identifiers import NodeId
from session_api.domain.session import Session, SessionState
from session_api.usecases.ending import Ending, end_session
from session_api.usecases.ports import Bells, Database, NodeGateway
from session_api.usecases.slots import Slots

log = logging.getLogger(__name__)

# A node that died a moment ago still looks like the emptiest one.
_MOST_NODES_TRIED = 3


class Starting:
    """Starts browsers, and stores what came of it."""

    def __init__(self, *, database: Database, nodes: NodeGateway, bells: Bells, ending: Ending, slots: Slots) -> None:
        self._database = database
        self._nodes = nodes
        self._bells = bells
        self._ending = ending
        self._slots = slots

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

    async def _started(self, session: Session, browser: BrowserFacts) -> Session:
        current = await self._save_started(session, browser)
        if current.state is SessionState.RUNNING and current.epoch == session.epoch:
            return current
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

    async def _save_started(self, session: Session, browser: BrowserFacts) -> Session:
        """Store that a browser is up, if the session still waits for it, and return the session as it is then."""
        while True:
            async with self._database.single() as tx:
                current, now = await tx.sessions.read(session.id)
                if current.state is not SessionState.STARTING or current.holder != session.holder:
                    return current
                running = current.started(now=now, browser=browser)
                # Whoever changes a starting session ends or moves it: this comes to an end.
                with contextlib.suppress(SessionChanged):
                    await tx.sessions.save_started(running, now=now)
                    self._bells.relay.set()
                    return running

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
