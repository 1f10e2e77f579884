"""Time passes, in all the ways in which it does."""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from tests.integration.session_api.machine.end_rules import EndRules
from tests.integration.session_api.machine.node_rules import NodeRules
from tests.integration.session_api.machine.steps import SPANS, indexes, names, replicas, seconds, silent_names
from tests.integration.session_api.machine.world import Answer


class TimeRules(EndRules, NodeRules):
    @rule(replica=replicas, span=st.sampled_from(SPANS))
    def life_goes_on(self, replica: int, span: int) -> None:
        """Nodes report, and reapers do what is due."""
        self._pass_time(span, silent=frozenset(), is_watched=True)
        self.reap_what_is_due(replica, Answer.DONE)
        self.look_for_silent_nodes(replica)

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

    @rule(span=st.sampled_from(SPANS), silent=silent_names, is_watched=st.booleans())
    def time_passes(self, span: int, silent: frozenset[str], is_watched: bool) -> None:
        self._pass_time(span, silent=silent, is_watched=is_watched)

    def _pass_time(self, span: int, *, silent: frozenset[str], is_watched: bool) -> None:
        """Nodes that are not silent report all the time; somebody looks for silent ones, or nobody does."""
        quiet = [node for name, node in self.model.nodes.items() if name in silent or node.is_lost]
        self.run(self.fleet.pass_time(seconds(span), silent=[node.id for node in quiet], is_watched=is_watched))
        self.model.now += span
        for node in self.model.nodes.values():
            node.beat += 0 if node in quiet else span
        if is_watched and self.model.watch_seen is not None:
            self.model.watch_seen += span
