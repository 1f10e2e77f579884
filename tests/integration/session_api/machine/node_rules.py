"""Nodes come, report and are lost; operators empty them; slots are given away; time passes."""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import RegistrationEnded
from session_api.domain.node import EndedBrowser, NodeReport, NodeState, RunningBrowser
from session_api.domain.session import SessionState
from tests.integration.session_api.machine.model import ModelSession
from tests.integration.session_api.machine.steps import (
    DRAIN_TIMEOUT,
    SPANS,
    Steps,
    indexes,
    names,
    replicas,
    seconds,
)
from tests.integration.session_api.machine.world import Answer
from tests.support.waiting import until

_crashes = st.sampled_from([CloseReason.BROWSER_CRASHED, CloseReason.OUT_OF_MEMORY])
_starts = st.sampled_from([Answer.DONE, Answer.DONE, Answer.REFUSES, Answer.HANGS])
# Places in the list of what a node holds.
_places = st.frozensets(st.integers(0, 2), max_size=2)


class NodeRules(Steps):
    @rule(replica=replicas, name=names, slots=st.integers(1, 3))
    def register_anew(self, replica: int, name: str, slots: int) -> None:
        self.register(name, slots, replica)

    @precondition(lambda self: any(node.state is not NodeState.ACTIVE for node in self.model.nodes.values()))
    @rule(replica=replicas)
    def all_is_well_again(self, replica: int) -> None:
        for name, node in self.model.nodes.items():
            if node.is_lost:
                self.register(name, node.slots, replica)
            self.cordon_or_uncordon(replica, name, is_cordoned=False)

    @rule(
        replica=replicas,
        name=names,
        missing=_places,
        ended=_places,
        reason=_crashes,
        clients=st.integers(0, 1),
        is_stopping=st.sampled_from([False, False, False, True]),
        is_old=st.sampled_from([False, False, False, True]),
    )
    def heartbeat(
        self,
        replica: int,
        name: str,
        missing: frozenset[int],
        ended: frozenset[int],
        reason: CloseReason,
        clients: int,
        is_stopping: bool,
        is_old: bool,
    ) -> None:
        node = self.model.nodes.get(name)
        if node is None or (is_old and len(node.registrations) < 2):
            return
        held = self.model.held(node)
        gone = [session for place, session in enumerate(held) if place in ended]
        known = [session for place, session in enumerate(held) if place not in missing | ended]
        # It speaks for others' sessions too, and nobody listens.
        foreign = [session for session in self.model.sessions.values() if session.node not in {None, node}]
        report = NodeReport(
            node_id=node.id,
            registration_id=node.registrations[-2 if is_old else -1],
            running=[self._running(session, clients) for session in known],
            ended=[self._ended_browser(session, reason) for session in (*gone, *foreign)],
            draining=is_stopping,
        )
        refused_with = RegistrationEnded if is_old or node.is_lost else None
        assigned = self.answered(self.plane(replica).nodes.heartbeat(report), refused_with=refused_with)
        if assigned is None:
            return
        node.beat, node.is_stopping = self.model.now, is_stopping
        for session in gone:
            session.end(reason, self.model.now)
        for session in held:
            if session in known:
                session.active = self.model.now if clients else session.active
            elif session.is_missing(self.model.now):
                session.end(CloseReason.BROWSER_CRASHED, self.model.now)
        wanted = {s.id for s in held if s.state in {SessionState.STARTING, SessionState.RUNNING}}
        assert {assignment.session_id for assignment in assigned} == wanted

    @rule(replica=replicas, name=names, is_cordoned=st.booleans())
    def cordon_or_uncordon(self, replica: int, name: str, is_cordoned: bool) -> None:
        node = self.model.nodes.get(name)
        if node is None:
            return
        operations = self.plane(replica).node_operations
        self.run(operations.cordon(node.id) if is_cordoned else operations.uncordon(node.id))
        node.is_cordoned = is_cordoned
        node.drain = node.drain if is_cordoned else None

    @rule(replica=replicas, name=names, timeout=st.sampled_from([0, DRAIN_TIMEOUT]))
    def drain(self, replica: int, name: str, timeout: int) -> None:
        node = self.model.nodes.get(name)
        if node is None:
            return
        self.script(Answer.DONE)
        self.run(self.plane(replica).node_operations.drain(node.id, timeout=seconds(timeout)))
        node.is_cordoned, node.drain = True, self.model.now + timeout
        if not timeout:
            self.model.close_drained()

    @precondition(lambda self: self.model.running())
    @rule(index=indexes, is_watched=st.booleans())
    def a_deadline_comes(self, index: int, is_watched: bool) -> None:
        running = self.model.running()
        deadline = running[index % len(running)].deadline
        assert deadline is not None
        if deadline > self.model.now:
            self._pass_time(deadline - self.model.now, silent=frozenset(), is_watched=is_watched)

    @rule(replica=replicas, name=names)
    def a_node_is_cut_off(self, replica: int, name: str) -> None:
        self.look_for_silent_nodes(replica)
        self._pass_time(SPANS[1], silent=frozenset([name]), is_watched=True)
        self.look_for_silent_nodes(replica)

    @rule(replica=replicas)
    def look_for_silent_nodes(self, replica: int) -> None:
        self.script(Answer.DONE)
        lost = {name for name, node in self.model.nodes.items() if node.is_lost}
        reaped = self.run(self.plane(replica).reaping.reap_nodes())
        self.model.look_for_silent_nodes()
        self.model.close_drained()
        assert reaped.lost == len({name for name, node in self.model.nodes.items() if node.is_lost} - lost)

    @precondition(lambda self: self.model.queued())
    @rule(replica=replicas, answer=_starts)
    def give_slots_away(self, replica: int, answer: Answer) -> None:
        turns = [session for session in self.model.turns() if session is not None]
        self.script(answer)

        async def dispatch() -> int:
            hanging = self.fleet.nodes.hanging
            placed = await self.plane(replica).dispatching.dispatch()
            if answer is Answer.HANGS:
                await until(lambda: self.fleet.nodes.hanging == hanging + placed)
            return placed

        assert self.run(dispatch()) == len(turns)
        self.adopt_nodes(*turns)
        for session in turns:
            session.move(SessionState.STARTING, self.model.now)
            if answer is Answer.DONE:
                session.start(self.model.now)
            elif answer is Answer.REFUSES:
                session.end(CloseReason.START_FAILED, self.model.now)

    @rule(span=st.sampled_from(SPANS), silent=st.frozensets(names, max_size=3), is_watched=st.booleans())
    def time_passes(self, span: int, silent: frozenset[str], is_watched: bool) -> None:
        self._pass_time(span, silent=silent, is_watched=is_watched)

    def _pass_time(self, span: int, *, silent: frozenset[str], is_watched: bool) -> None:
        """Nodes that are not silent report all the time; somebody looks for silent ones, or nobody does."""
        quiet = [node for name, node in self.model.nodes.items() if name in silent or node.is_lost]
        self.run(self.fleet.pass_time(span, silent=[node.id for node in quiet], is_watched=is_watched))
        self.model.now += span
        for node in self.model.nodes.values():
            node.beat += 0 if node in quiet else span
        if is_watched and self.model.watch_seen is not None:
            self.model.watch_seen += span

    def _running(self, session: ModelSession, clients: int) -> RunningBrowser:
        return RunningBrowser(session_id=session.id, epoch=self.rows[session.id].epoch, client_count=clients)

    def _ended_browser(self, session: ModelSession, reason: CloseReason) -> EndedBrowser:
        epoch = self.rows[session.id].epoch
        return EndedBrowser(session_id=session.id, epoch=epoch, close_reason=reason, message="It fell over.")
