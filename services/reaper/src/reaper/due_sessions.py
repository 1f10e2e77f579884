"""Acts on one message that something is due for a session."""

import logging

from fleetkit.errors import FleetError
from fleetkit.telemetry import log_context
from fleetkit.verdicts import Outcome, Verdict
from reaper.policy import SessionId, after_failure
from reaper.ports import SessionGateway

log = logging.getLogger(__name__)


class DueSessions:
    """session-api decides by its database what is due, so duplicates, late and early messages do no harm."""

    def __init__(self, sessions: SessionGateway) -> None:
        self._sessions = sessions

    async def handle(self, session_id: SessionId, *, deliveries: int) -> Verdict:
        """Ask for the session to be reaped and say what becomes of the message, which came `deliveries` times."""
        with log_context(session_id=session_id):
            verdict = await self._verdict(session_id, deliveries)
            level = logging.WARNING if verdict.outcome is Outcome.GIVEN_UP else logging.INFO
            log.log(level, "deadline %s: %s", verdict.outcome.value.lower(), verdict.reason)
            return verdict

    async def _verdict(self, session_id: SessionId, deliveries: int) -> Verdict:
        try:
            await self._sessions.reap(session_id)
        except FleetError as error:
            return after_failure(error, deliveries=deliveries)
        # Also when nothing was due yet: what comes next has a message of its own, or the sweep finds it.
        return Verdict(outcome=Outcome.DONE, reason="session-api did what was due")
