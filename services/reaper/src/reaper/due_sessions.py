"""Acts on one deadline that has come."""

import logging

from fleetkit.errors import FleetError
from fleetkit.telemetry import log_context
from reaper.policy import Deadline, Outcome, Verdict, after_answer, after_failure
from reaper.ports import SessionGateway

log = logging.getLogger(__name__)


class DueSessions:
    """Closing is session-api's decision by its database, so duplicates, late and early messages do no harm."""

    def __init__(self, sessions: SessionGateway) -> None:
        self._sessions = sessions

    async def handle(self, deadline: Deadline, *, deliveries: int) -> Verdict:
        """Ask for the session to be reaped and say what becomes of the message, which came `deliveries` times."""
        with log_context(session_id=deadline.session_id):
            verdict = await self._verdict(deadline, deliveries)
            level = logging.WARNING if verdict.outcome is Outcome.GIVEN_UP else logging.INFO
            log.log(level, "deadline %s: %s", verdict.outcome.value.lower(), verdict.reason)
            return verdict

    async def _verdict(self, deadline: Deadline, deliveries: int) -> Verdict:
        try:
            session = await self._sessions.reap(deadline.session_id)
        except FleetError as error:
            return after_failure(error, deliveries=deliveries)
        return after_answer(deadline, session, deliveries=deliveries)
