"""What must hold of every step that a session takes: looked at when the step is committed."""

from datetime import datetime

from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import START_TIMEOUT, STOP_TIMEOUT, Session, SessionState
from tests.simulation.browser_invariants import BrowserInvariants
from tests.simulation.plan import Kind
from tests.simulation.surroundings import Surroundings

_NEXT = {
    SessionState.QUEUED: {SessionState.STARTING, SessionState.CLOSED, SessionState.FAILED},
    SessionState.STARTING: {SessionState.RUNNING, SessionState.CLOSING, SessionState.CLOSED, SessionState.FAILED},
    SessionState.RUNNING: {SessionState.CLOSING, SessionState.CLOSED, SessionState.FAILED},
    SessionState.CLOSING: {SessionState.CLOSED, SessionState.FAILED},
    SessionState.CLOSED: set[SessionState](),
    SessionState.FAILED: set[SessionState](),
}
_OVERSHOOT = 5.0
# A sweep waits for its slowest session, which may be on a node that does not answer.
_SWEEP_IS_HELD_UP = 10.0
# A lease, passes over the nodes, and a little.
_LOSS_IS_NOTICED = 15.0 + 8.0
_A_MINUTE = 60.0
_CALM_FAULTS = frozenset({CloseReason.QUEUE_TIMED_OUT, CloseReason.CLIENT_GONE})


class SessionInvariants:
    """Looks at new sessions and at every change of one."""

    def __init__(self, around: Surroundings, browsers: BrowserInvariants) -> None:
        # Sessions that have not ended.
        self.open: dict[SessionId, Session] = {}
        self.ids_of_keys: dict[tuple[OrganizationId, str], SessionId] = {}
        self._browsers = browsers
        self._database = around.database
        self._machines = around.machines
        self._plan = around.plan
        self._troubles = around.troubles
        self._verdicts = around.verdicts

    def look(self, before: Session | None, after: Session, now: datetime) -> None:
        """Look at one changed row."""
        self._trace(before, after)
        self._look_at_order(before, after)
        if after.state.is_final:
            self.open.pop(after.id, None)
        else:
            self.open[after.id] = after
        if before is None:
            self._look_at_new(after, now)
            return
        self._look_at_calm(after)
        self._look_at_history(before, after)
        if after.state is not before.state:
            self._look_at_stay(before, now)
        if after.state is SessionState.RUNNING and before.state is not SessionState.RUNNING:
            self._browsers.look_at_start(after)
        if before.state is SessionState.RUNNING and after.state is not SessionState.RUNNING:
            self._look_at_end_of_run(before, after, now)
        if after.close_reason is CloseReason.IDLE and before.close_reason is None:
            self._browsers.look_at_idle(before)
        self._look_at_leases(before, after, now)
        self._browsers.note_unwanted(before, after)

    def _trace(self, before: Session | None, after: Session) -> None:
        is_news = before is None or (before.state, before.epoch) != (after.state, after.epoch)
        if self._verdicts.trace is not None and is_news:
            self._verdicts.trace(f"{after.id[-6:]} {after.state} epoch {after.epoch} {after.close_reason or ''}")

    def _look_at_new(self, session: Session, now: datetime) -> None:
        if session.request_id:
            known = self.ids_of_keys.setdefault((session.organization_id, session.request_id), session.id)
            if known != session.id:
                self._verdicts.broken("I6", f"{session.id} and {known} have one request_id")
        limit = self._troubles.highest_limit(session.organization_id, "max_creates_per_minute")
        if limit is None:
            return
        fresh = sum(
            other.organization_id == session.organization_id and (now - other.create_time).total_seconds() < _A_MINUTE
            for other in self._database.sessions()
        )
        if fresh > limit:
            self._verdicts.broken("quota", f"{fresh} creates of {session.organization_id} in a minute, not {limit}")

    def _look_at_order(self, before: Session | None, after: Session) -> None:
        """In a calm world whoever came first is placed first."""
        if self._plan.kind is not Kind.CALM or after.state is not SessionState.STARTING:
            return
        if before is not None and before.state is not SessionState.QUEUED:
            return
        for other in self.open.values():
            if other.state is SessionState.QUEUED and other.id < after.id:
                self._verdicts.broken("queue", f"{after.id} was placed before {other.id}")

    def _look_at_calm(self, after: Session) -> None:
        """In a calm world nothing fails, but what finds no room."""
        if (
            self._plan.kind is Kind.CALM
            and after.state is SessionState.FAILED
            and after.close_reason not in _CALM_FAULTS
        ):
            self._verdicts.broken("calm", f"{after.id} failed with {after.close_reason}: {after.close_message}")

    def _look_at_history(self, before: Session, after: Session) -> None:
        end_before = (before.state, before.close_reason, before.close_message, before.end_time)
        end_after = (after.state, after.close_reason, after.close_message, after.end_time)
        if before.state.is_final and end_before != end_after:
            self._verdicts.broken("I7", f"{after.id} changed after its end: {end_before} to {end_after}")
        if before.close_reason is not None and before.close_reason is not after.close_reason:
            self._verdicts.broken(
                "I7", f"{after.id} was given a second reason: {before.close_reason}, {after.close_reason}"
            )
        if after.state is not before.state and after.state not in _NEXT[before.state]:
            self._verdicts.broken("I7", f"{after.id} went from {before.state} to {after.state}")
        if after.epoch < before.epoch:
            self._verdicts.broken("I1", f"{after.id} went back to epoch {after.epoch}")

    def _look_at_stay(self, before: Session, now: datetime) -> None:
        """Nobody stays for long where it may stay for a while only."""
        match before.state:
            case SessionState.QUEUED if before.queue_expire_time is not None:
                late = (now - before.queue_expire_time).total_seconds()
            case SessionState.STARTING:
                late = (now - before.state_time - START_TIMEOUT).total_seconds()
            case SessionState.CLOSING:
                late = (now - before.state_time - STOP_TIMEOUT).total_seconds()
            case _:
                return
        if late > _OVERSHOOT + _SWEEP_IS_HELD_UP and self._troubles.core_is_well_for(late + 3.0):
            self._verdicts.broken("I2", f"{before.id} was {before.state} for {late:.1f} s too long")

    def _look_at_end_of_run(self, before: Session, after: Session, now: datetime) -> None:
        if before.expire_time is None or before.allocation is None:
            self._verdicts.broken("I2", f"{after.id} ran without a deadline")
            return
        machine = self._machines[before.allocation.node_address]
        late = (now - before.expire_time).total_seconds()
        if late > _OVERSHOOT and self._troubles.core_is_well_for(late + 3.0):
            self._verdicts.broken("I2", f"{after.id} ran on for {late:.1f} s after its deadline")
        if after.close_reason is CloseReason.TIMED_OUT and late < 0.0:
            # A node that does not hear of a later deadline goes by the one that it knows.
            was_told = self._troubles.well_for(machine, 20.0) and not self._troubles.is_random
            if after.state is SessionState.CLOSING or was_told:
                self._verdicts.broken("I2", f"{after.id} timed out {-late:.1f} s before its deadline")
        gone_for = machine.gone_for()
        if gone_for > _LOSS_IS_NOTICED and self._troubles.core_is_well_for(gone_for + 16.0):
            self._verdicts.broken("I12", f"{after.id} was RUNNING on {machine.name}, gone for {gone_for:.1f} s")

    def _look_at_leases(self, before: Session, after: Session, now: datetime) -> None:
        held, holds = before.occupancy, after.occupancy
        if held is not None and holds is not None and held.generation != holds.generation:
            is_live = held.expire_time is None or now < held.expire_time
            if is_live:
                self._verdicts.broken("occupied", f"{after.id} was taken from {held.holder_id} by {holds.holder_id}")
        if after.state.is_final and (after.occupancy is not None or after.control is not None):
            self._verdicts.broken("occupied", f"{after.id} is held after its end")
