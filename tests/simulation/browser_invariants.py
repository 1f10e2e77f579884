"""What must hold of the browsers that really run, against what is stored of them."""

from datetime import datetime, timedelta

from fleetkit.errors import DeadlineExceeded, FleetError
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Session
from tests.simulation.browser import Browser
from tests.simulation.node_model import HEARTBEAT_INTERVAL, ISOLATION_BUDGET
from tests.simulation.surroundings import Surroundings

_OVERSHOOT = 5.0
# Seconds that the end of a browser may take.
_SLOWEST_END = 10.0
# A report under way, its answer under way, and the end.
_UNWANTED_AT_MOST = HEARTBEAT_INTERVAL + ISOLATION_BUDGET + 5.0 + _SLOWEST_END
# Somebody who is attached for longer was reported.
_REPORTED_AFTER = 8.0


class BrowserInvariants:
    """See NodeWitness: told of every browser's begin and end."""

    def __init__(self, around: Surroundings) -> None:
        self.live: dict[tuple[SessionId, int], Browser] = {}
        self._loop = around.loop
        self._database = around.database
        self._machines = around.machines
        self._troubles = around.troubles
        self._verdicts = around.verdicts
        # Names of the nodes where the browsers of allocations were up at some time.
        self._was_up: dict[tuple[SessionId, int], str] = {}
        # The deadlines that nodes were told last.
        self._told: dict[tuple[SessionId, int], datetime] = {}
        # When a browser was no longer wanted: the instant, and how long its node had been stopped by then.
        self._unwanted: dict[tuple[SessionId, int], tuple[float, float]] = {}

    def of(self, session_id: SessionId) -> Browser | None:
        """Return the browser that runs for a session, the newest one."""
        own = (browser for browser in self.live.values() if browser.session_id == session_id)
        return max(own, key=lambda browser: browser.epoch, default=None)

    # ---- what nodes do

    def browser_began(self, browser: Browser) -> None:
        self._trace(f"{browser.node_name} starts {browser.session_id[-6:]} epoch {browser.epoch}")
        other = self.live.get(browser.key)
        if other is not None:
            self._verdicts.broken(
                "I1", f"{browser.session_id} runs on {other.node_name} and {browser.node_name} in one epoch"
            )
        self.live[browser.key] = browser

    def browser_up(self, browser: Browser) -> None:
        self._was_up[browser.key] = browser.node_name

    def deadline_moved(self, browser: Browser, remaining: timedelta) -> None:
        self._told[browser.key] = self._database.clock.now() + remaining

    def browser_ends(self, browser: Browser, reason: CloseReason) -> None:
        told, session = self._told.get(browser.key), self._database.session(browser.session_id)
        if reason is not CloseReason.TIMED_OUT or told is None or session is None or session.expire_time is None:
            return
        early = session.expire_time - self._database.clock.now()
        knew = session.epoch == browser.epoch and told >= session.expire_time
        if knew and early > timedelta(0):
            self._verdicts.broken(
                "I2", f"{browser.node_name} ends {session.id} {early} before the deadline that it knew"
            )

    def browser_gone(self, browser: Browser) -> None:
        reason = browser.end.result() if browser.end.done() else "with its node"
        self._trace(f"{browser.node_name} ended {browser.session_id[-6:]} epoch {browser.epoch}: {reason}")
        self.live.pop(browser.key, None)
        self._look_at_unwanted(browser)
        self._look_at_overshoot(browser)

    def heartbeat_failed(self, node_name: str, error: FleetError) -> None:
        # One that hangs until its deadline, and the pause after it, are nearly as long as a lease.
        if isinstance(error, DeadlineExceeded) or not self._troubles.core_was_away():
            self._machines[node_name].troubled()

    # ---- what is stored

    def look_at_start(self, session: Session) -> None:
        """Look at a session that has just become RUNNING."""
        place = session.allocation.node_address if session.allocation is not None else None
        if self._was_up.get((session.id, session.epoch)) != place:
            self._verdicts.broken(
                "I1", f"{session.id} is RUNNING on {place} in epoch {session.epoch} and never was up there"
            )

    def look_at_idle(self, session: Session) -> None:
        """Look at a session that is just being closed as idle."""
        browser = self.live.get((session.id, session.epoch))
        if browser is None or not browser.clients:
            return
        attached_for = self._loop.time() - browser.attached_since
        if attached_for > _REPORTED_AFTER and self._troubles.well_for(self._machines[browser.node_name], 10.0):
            self._verdicts.broken(
                "idle", f"{session.id} was closed as idle, and somebody is attached for {attached_for:.1f} s"
            )

    def note_unwanted(self, before: Session, after: Session) -> None:
        """Note from when on the browser of an allocation is to go."""
        if before.allocation is None:
            return
        if after.allocation != before.allocation or after.epoch != before.epoch or after.state.is_final:
            machine = self._machines[before.allocation.node_address]
            self._unwanted.setdefault((before.id, before.epoch), (self._loop.time(), machine.stopped_for))

    # ---- how

    def _look_at_unwanted(self, browser: Browser) -> None:
        unwanted = self._unwanted.get(browser.key)
        if unwanted is None:
            return
        since, stopped_for = unwanted
        machine = self._machines[browser.node_name]
        age = self._loop.time() - since - (machine.stopped_for - stopped_for)
        if age > _UNWANTED_AT_MOST:
            self._verdicts.broken(
                "I1", f"{browser.node_name} ran {browser.session_id} for {age:.0f} s after it was not its own"
            )

    def _look_at_overshoot(self, browser: Browser) -> None:
        session = self._database.session(browser.session_id)
        if session is None or session.epoch != browser.epoch or session.expire_time is None:
            return
        late = (self._database.clock.now() - session.expire_time).total_seconds()
        is_well = self._troubles.well_for(self._machines[browser.node_name], late + 3.0)
        if late > _OVERSHOOT + _SLOWEST_END and is_well:
            self._verdicts.broken("I2", f"the browser of {session.id} ran on for {late:.1f} s after its deadline")

    def _trace(self, text: str) -> None:
        if self._verdicts.trace is not None:
            self._verdicts.trace(text)
