"""What must hold in every commit and in every answer."""

import asyncio
from collections.abc import Callable, Coroutine

from fleetkit.errors import FleetError
from session_api.domain.errors import QueueTimedOut, SessionNotOpen
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.node import Node
from session_api.domain.session import Session
from session_api.domain.usage import UsageRecord
from session_api.usecases.admission import NewSession
from tests.simulation.browser_invariants import BrowserInvariants
from tests.simulation.database import Commit
from tests.simulation.process import Process
from tests.simulation.session_invariants import SessionInvariants
from tests.simulation.surroundings import Surroundings

_LEASE = 15.0
# Seconds by which an answer may come after the time that the caller gave.
_ANSWERING = 2.0


class Invariants:
    """Looks at what the others do not see alone: slots, quotas, events, usage, nodes, answers."""

    def __init__(self, around: Surroundings, *, sessions: SessionInvariants, browsers: BrowserInvariants) -> None:
        self.browsers = browsers
        self._sessions = sessions
        self._loop = around.loop
        self._database = around.database
        self._machines = around.machines
        self._troubles = around.troubles
        self._verdicts = around.verdicts
        # Labels of creates without a key that had no session for an answer, and the process that was to end it then.
        self.unfindable: dict[str, Process] = {}
        # Number of the last event of each session.
        self._announced: dict[SessionId, int] = {}
        self._database.on_commit = self.committed
        self._database.on_deadlock = lambda message: around.verdicts.broken("locks", message)

    def committed(self, commit: Commit) -> None:
        """Look at what a transaction did."""
        now = self._database.clock.now()
        for before, after in commit.sessions:
            self._sessions.look(before.session if before is not None else None, after.session, now)
        for usage_before, usage_after in commit.usage:
            self._look_at_usage(usage_before, usage_after)
        self._look_at_news(commit)
        if commit.sessions or commit.nodes:
            self._look_at_slots(commit)
        for node_before, node_after in commit.nodes:
            self._look_at_node(node_before, node_after)

    def closed(self, session: Session) -> None:
        """Look at the answer to a close."""
        if not session.state.is_final:
            self._verdicts.broken("I11", f"a close was answered with {session.id} {session.state}")

    async def created(
        self,
        process: Process,
        request: NewSession,
        create: Callable[[], Coroutine[object, object, Session]],
        wait: float,
    ) -> Session:
        """Look at how long a create takes in a process, and at its answer."""
        begin = self._loop.time()
        try:
            session = await create()
        except (asyncio.CancelledError, FleetError) as error:
            if not request.request_id:
                self.unfindable[request.labels["call"]] = process
            if isinstance(error, SessionNotOpen | QueueTimedOut):
                self._look_at_refusal(error)
            raise
        finally:
            took = self._loop.time() - begin
            if took > wait + _ANSWERING and self._troubles.core_is_well_for(took + 1.0):
                self._verdicts.broken("I11", f"a create that may wait {wait:.0f} s took {took:.1f} s")
        if request.request_id:
            known = self._sessions.ids_of_keys.get((session.organization_id, request.request_id))
            if known != session.id:
                self._verdicts.broken("I6", f"{request.request_id} was answered with {session.id}, not {known}")
        return session

    def _look_at_refusal(self, error: FleetError) -> None:
        session = self._database.session(SessionId(error.metadata.get("session_id", "")))
        if session is None or session.close_reason is None:
            self._verdicts.broken("I11", f"a create was answered with {error.reason}, and {session} is not ending")

    def _look_at_usage(self, before: UsageRecord | None, after: UsageRecord) -> None:
        if before is not None and before != after:
            self._verdicts.broken("I5", f"the usage of {after.session_id} was written again")
        session = self._database.session(after.session_id)
        if session is None or (session.start_time, session.end_time) != (after.start_time, after.end_time):
            self._verdicts.broken("I5", f"the usage of {after.session_id} is not from its start to its end")
        if len(self._database.usage_of(after.session_id)) > 1:
            self._verdicts.broken("I5", f"{after.session_id} is billed twice")

    def _look_at_news(self, commit: Commit) -> None:
        for news in commit.news:
            if news.session is None or not news.subject.startswith("fleet.v1."):
                continue
            number, known = news.session.sequence, self._announced.get(news.session.id, 0)
            if number != known + 1:
                self._verdicts.broken("I9", f"{news.session.id} announced {number} after {known}")
            self._announced[news.session.id] = number
        for _, row in commit.sessions:
            session, announced = row.session, self._announced.get(row.session.id, 0)
            if session.sequence != announced:
                self._verdicts.broken("I9", f"{session.id} is at {session.sequence}, announced was {announced}")
            was_up = session.start_time is not None
            if session.state.is_final and was_up and not self._database.usage_of(session.id):
                self._verdicts.broken("I5", f"{session.id} ended and was not billed")

    def _look_at_slots(self, commit: Commit) -> None:
        held: dict[tuple[str, str], int] = {}
        shares: dict[OrganizationId, int] = {}
        for session in self._sessions.open.values():
            if not session.state.holds_slot:
                continue
            shares[session.organization_id] = shares.get(session.organization_id, 0) + 1
            if session.allocation is not None:
                key = (session.allocation.node_id, session.allocation.registration_id)
                held[key] = held.get(key, 0) + 1
        for node in self._database.nodes():
            used = held.get((node.id, node.registration_id), 0)
            if node.slots_used != used or used > node.slots:
                self._verdicts.broken(
                    "I8", f"{node.name} has {node.slots_used} of {node.slots} slots used, {used} are held"
                )
        for before, after in commit.sessions:
            if after.session.state.holds_slot and (before is None or not before.session.state.holds_slot):
                self._look_at_share(after.session.organization_id, shares)

    def _look_at_share(self, organization_id: OrganizationId, shares: dict[OrganizationId, int]) -> None:
        limit = self._troubles.highest_limit(organization_id, "max_open_sessions")
        if limit is not None and shares[organization_id] > limit:
            self._verdicts.broken(
                "quota", f"{organization_id} has {shares[organization_id]} open sessions, {limit} allowed"
            )

    def _look_at_node(self, before: Node | None, after: Node) -> None:
        if before is None or before.registration_id != after.registration_id:
            self._trace(f"{after.name} registered")
        if after.is_lost and (before is None or not before.is_lost):
            self._trace(f"{after.name} is lost")
            if self._troubles.well_for(self._machines[after.name], _LEASE):
                self._verdicts.broken("I12", f"{after.name} was declared lost and was well all the time")

    def _trace(self, text: str) -> None:
        if self._verdicts.trace is not None:
            self._verdicts.trace(text)
