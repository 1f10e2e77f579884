"""What must become true when everything is mended: one entry for each thing that is not yet so."""

from collections.abc import Sequence

from session_api.domain.node import Node
from session_api.domain.queue import Share, Waiting, fair_order, next_placements
from session_api.domain.session import Session, SessionState
from tests.simulation.invariants import Invariants
from tests.simulation.surroundings import Surroundings
from tests.simulation.watchers import Watcher


class Settling:
    """Compares what is stored, what runs, and what was told."""

    def __init__(self, around: Surroundings, *, invariants: Invariants, watchers: Sequence[Watcher]) -> None:
        self._database = around.database
        self._machines = around.machines
        self._bus = around.bus
        self._invariants = invariants
        self._watchers = watchers

    def unsettled(self) -> tuple[str, str] | None:
        """Return an invariant that does not hold yet, and how; None when everything is as it should be."""
        for invariant, look in (
            ("liveness", self._sessions),
            ("I12", self._nodes),
            ("I3", self._browsers),
            ("control", self._control),
            ("I9", self._events),
            ("liveness", self._queue),
            ("watch", self._news),
            ("findable", self._found),
        ):
            message = look()
            if message:
                return invariant, message
        return None

    def _sessions(self) -> str:
        now = self._database.clock.now()
        for session in self._database.sessions():
            if session.state in {SessionState.STARTING, SessionState.CLOSING}:
                return f"{session.id} is {session.state} since {session.state_time:%T}"
            if session.due(now=now, report_time=None) is not None:
                return f"{session.id} is {session.state} and something is due for it"
        return ""

    def _nodes(self) -> str:
        stored = {node.name: node for node in self._database.nodes()}
        for machine in self._machines.values():
            node, model = stored.get(machine.name), machine.node
            if node is None or model is None or model.registration is None:
                return f"{machine.name} has not registered"
            if node.is_lost or node.registration_id != model.registration.registration_id:
                return f"{machine.name} runs as {model.registration.registration_id} and is not known as that"
        return ""

    def _browsers(self) -> str:
        wanted = {
            (session.id, session.epoch): session.allocation.node_address
            for session in self._database.sessions()
            if session.state is SessionState.RUNNING and session.allocation is not None
        }
        running = {key: browser.node_name for key, browser in self._invariants.browsers.live.items()}
        for key in sorted(wanted.items() ^ running.items()):
            return f"browser and row do not match: {key[0][0]} epoch {key[0][1]} on {key[1]}"
        return ""

    def _control(self) -> str:
        """Nodes know who has control."""
        live = self._invariants.browsers.live
        for session in self._database.sessions():
            holds, browser = session.control.generation if session.control else 0, live.get((session.id, session.epoch))
            if session.state is SessionState.RUNNING and browser is not None and browser.control != holds:
                return f"control {holds} of {session.id} is held, and {browser.node_name} knows of {browser.control}"
        return ""

    def _events(self) -> str:
        if self._database.relayed < len(self._database.outbox):
            return f"{len(self._database.outbox) - self._database.relayed} rows wait in the outbox"
        for session in self._database.sessions():
            arrived = self._bus.events.get(session.id, [])
            first_ones = list(dict.fromkeys(arrived))
            if first_ones != list(range(1, session.sequence + 1)):
                return f"of {session.id} the events {arrived} arrived, {session.sequence} happened"
        return ""

    def _queue(self) -> str:
        queued = [session for session in self._database.sessions() if session.state is SessionState.QUEUED]
        if not queued:
            return ""
        shares = {session.organization_id: self._share(session) for session in queued}
        waiting = [
            Waiting(session_id=session.id, organization_id=session.organization_id, need=session.spec.need)
            for session in queued
        ]
        nodes: list[Node] = self._database.nodes()
        placements = next_placements(fair_order(waiting, shares), nodes, shares)
        return f"{placements[0][0].session_id} waits and there is room" if placements else ""

    def _share(self, session: Session) -> Share:
        organization = self._database.organization(session.organization_id)
        held = sum(
            other.state.holds_slot for other in self._database.sessions() if other.organization_id == organization.id
        )
        return Share(held=held, weight=organization.weight, limits=organization.limits)

    def _news(self) -> str:
        for watcher in self._watchers:
            stored = {session.id: session for session in self._database.sessions() if watcher.query.matches(session)}
            for session_id in sorted(stored.keys() | watcher.seen.keys()):
                if stored.get(session_id) != watcher.seen.get(session_id):
                    return f"a watcher of {watcher.query.organization_id} has an old {session_id}"
        return ""

    def _found(self) -> str:
        """A session of which nobody knows is ended by whoever failed to tell of it, as long as that one lives."""
        for session in self._database.sessions():
            process = self._invariants.unfindable.get(session.labels.get("call", ""))
            could_tell = process is not None and process.alive and session.id not in self._database.unknown
            if could_tell and not session.state.is_final:
                return f"{session.id} is {session.state} and nobody knows of it"
        return ""
