"""Browser-nodes: they register, they report, and the fleet tells them what should run."""

import logging
from datetime import datetime, timedelta

from fleetkit.ids import IdSource
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import RegistrationEnded, SessionNotFound
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Assignment, NewNode, NodeReport, Registration
from session_api.domain.session import SessionState
from session_api.usecases.ending import Ending
from session_api.usecases.heartbeats import Heartbeats
from session_api.usecases.ports import Beat, Bells, Database, HeldSession
from session_api.usecases.reaping import Reaping

log = logging.getLogger(__name__)

# A browser that a report does not know is missing only when it was up for longer than a report may be under way.
_REPORT_MAY_BE_OLD = timedelta(seconds=15)


class Nodes:
    """Registrations and heartbeats."""

    def __init__(
        self,
        *,
        database: Database,
        ids: IdSource,
        ending: Ending,
        reaping: Reaping,
        bells: Bells,
        heartbeats: Heartbeats,
    ) -> None:
        self._database = database
        self._heartbeats = heartbeats
        self._ids = ids
        self._ending = ending
        self._reaping = reaping
        self._bells = bells

    async def register(self, node: NewNode) -> Registration:
        """Begin a registration. Sessions of the node's earlier life fail: their browsers died with it.

        Raises NodeNameTaken.
        """
        async with self._database.transaction() as tx:
            now = await tx.now()
            ids = Registration(node_id=NodeId(self._ids.new("nod")), registration_id=self._ids.new("reg"))
            registration = await tx.nodes.register(node, ids=ids, now=now)
            registered = await tx.nodes.get(registration.node_id)
            await tx.outbox.announce_node(registered, what="registered", now=now)
        log.info("node %s registered as %s", node.name, registration.node_id)
        self._bells.relay.set()
        await self._reaping.fail_orphans()
        self._bells.queue.set()
        return registration

    async def heartbeat(self, report: NodeReport) -> list[Assignment]:
        """Take a report and return what the node should be running. Raises RegistrationEnded."""
        beat = await self._heartbeats.record(report)
        if beat is None:
            raise RegistrationEnded("This registration has ended: end all browsers and register anew.")
        if _says_something_new(report, beat):
            async with self._database.transaction() as tx:
                await tx.sessions.record_activity(report, now=beat.now)
        for ended in report.ended:
            # A node speaks for the sessions that it holds, and for no other.
            try:
                await self._ending.end(
                    ended.session_id,
                    reason=ended.close_reason,
                    message=ended.message,
                    holder=(report.node_id, ended.epoch),
                )
            except SessionNotFound:
                log.warning("a node reported session %s, which was never here", ended.session_id)
        return await self._assignments(report, beat)

    async def _assignments(self, report: NodeReport, beat: Beat) -> list[Assignment]:
        reported = {(browser.session_id, browser.epoch) for browser in report.running}
        ended = {(browser.session_id, browser.epoch) for browser in report.ended}
        assignments = []
        for held in beat.held:
            key = (held.session_id, held.epoch)
            if key in ended:
                continue
            if key not in reported and _is_missing(held, beat.now):
                holder = (report.node_id, held.epoch)
                await self._ending.end(held.session_id, reason=CloseReason.BROWSER_CRASHED, holder=holder)
            elif held.state in {SessionState.STARTING, SessionState.RUNNING}:
                remaining = (held.expire_time or beat.now + held.timeout) - beat.now
                assignments.append(
                    Assignment(
                        session_id=held.session_id,
                        epoch=held.epoch,
                        remaining=remaining,
                        control_generation=held.control_generation,
                    )
                )
        return assignments


def _is_missing(held: HeldSession, now: datetime) -> bool:
    return held.state is SessionState.RUNNING and now - held.state_time > _REPORT_MAY_BE_OLD


def _says_something_new(report: NodeReport, beat: Beat) -> bool:
    """Whether a report changes what is stored: most do not, and cost no write."""
    known = {(held.session_id, held.epoch): held for held in beat.held}
    for browser in report.running:
        held = known.get((browser.session_id, browser.epoch))
        if held is None:
            continue
        counts = (browser.client_count, browser.viewer_count)
        if held.has_idle_timeout or counts != (held.client_count, held.viewer_count):
            return True
    return False
