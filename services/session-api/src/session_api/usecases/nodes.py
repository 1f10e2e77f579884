"""Browser-nodes: they register, they report, and the fleet tells them what should run."""

import logging
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.ids import IdSource
from session_api.domain.errors import RegistrationEnded, SessionNotFound
from session_api.domain.node import Assignment, NewNode, NodeReport, Registration
from session_api.domain.session import CloseReason, NodeId, Session, SessionId, SessionState
from session_api.usecases.ending import end_session
from session_api.usecases.ports import Database, Wakeups

log = logging.getLogger(__name__)

# A browser that a report does not know is missing only when it was up for longer than a report may be under way.
_REPORT_MAY_BE_OLD = timedelta(seconds=15)
_ORPHANS_A_PASS = 1000


class Nodes:
    """Registrations, heartbeats, and nodes that fell silent."""

    def __init__(self, *, database: Database, clock: Clock, ids: IdSource, relay: Wakeups, lease: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._relay = relay
        self._lease = lease
        # Since when the database has answered without a break, by the monotonic clock: while it was away no
        # heartbeat could arrive, and silence proves nothing.
        self._database_up_since: float | None = None

    async def register(self, node: NewNode) -> Registration:
        """Begin a registration. Sessions of the node's earlier life fail: their browsers died with it."""
        async with self._database.transaction() as tx:
            ids = Registration(node_id=NodeId(self._ids.new("nod")), registration_id=self._ids.new("reg"))
            registration = await tx.nodes.register(node, ids=ids, now=await tx.now())
        log.info("node %s registered as %s", node.name, registration.node_id)
        await self._fail_orphans()
        return registration

    async def heartbeat(self, report: NodeReport) -> list[Assignment]:
        """Take a report and return what the node should be running. Raises RegistrationEnded."""
        async with self._database.transaction() as tx:
            now = await tx.now()
            known = await tx.nodes.beat(report.node_id, report.registration_id, draining=report.draining, now=now)
        if not known:
            raise RegistrationEnded("This registration has ended: end all browsers and register anew.")
        for ended in report.ended:
            # A node speaks for the sessions that it holds, and for no other.
            holder = (report.node_id, ended.epoch)
            await self._end(ended.session_id, ended.close_reason, message=ended.message, holder=holder)
        async with self._database.transaction() as tx:
            await tx.sessions.record_clients(report.node_id, report.running)
            unfinished = await tx.sessions.unfinished_of(report.node_id)
        return await self._assignments(unfinished, report, now)

    async def give_up_lost(self) -> None:
        """One pass: sessions of nodes that were silent for longer than their lease fail with NODE_LOST."""
        try:
            async with self._database.transaction() as tx:
                now = await tx.now()
                if self._silence_counts():
                    for node_id in await tx.nodes.give_up(silent_since=now - self._lease):
                        log.warning("node %s is lost", node_id)
            await self._fail_orphans()
        except Exception:
            self._database_up_since = None
            raise

    def _silence_counts(self) -> bool:
        if self._database_up_since is None:
            self._database_up_since = self._clock.monotonic()
        return self._clock.monotonic() - self._database_up_since >= self._lease.total_seconds()

    async def _assignments(self, unfinished: list[Session], report: NodeReport, now: datetime) -> list[Assignment]:
        reported = {(browser.session_id, browser.epoch) for browser in report.running}
        assignments = []
        for session in unfinished:
            if (session.id, session.epoch) not in reported and _is_missing(session, now):
                await self._end(session.id, CloseReason.BROWSER_CRASHED, holder=session.holder)
            elif session.state in {SessionState.STARTING, SessionState.RUNNING}:
                remaining = (session.expire_time or now + session.timeout) - now
                assignments.append(Assignment(session_id=session.id, epoch=session.epoch, remaining=remaining))
        return assignments

    async def _fail_orphans(self) -> None:
        async with self._database.transaction() as tx:
            orphans = await tx.sessions.orphaned(limit=_ORPHANS_A_PASS)
        for session_id in orphans:
            await self._end(session_id, CloseReason.NODE_LOST)

    async def _end(
        self,
        session_id: SessionId,
        reason: CloseReason,
        *,
        message: str = "",
        holder: tuple[NodeId, int] | None = None,
    ) -> None:
        # One session a transaction, always session before node: two rows locked in one order cannot deadlock.
        try:
            async with self._database.transaction() as tx:
                await end_session(tx, session_id, reason=reason, message=message, holder=holder)
        except SessionNotFound:
            log.warning("a node reported session %s, which was never here", session_id)
        self._relay.set()


def _is_missing(session: Session, now: datetime) -> bool:
    return session.state is SessionState.RUNNING and now - session.state_time > _REPORT_MAY_BE_OLD
