"""What becomes of a message that something is due for a session: values and decisions only."""

import re
from typing import NewType

from fleetkit.errors import FleetError, InvalidArgument, NotFound
from fleetkit.verdicts import Outcome, Verdict, tried_again

SessionId = NewType("SessionId", str)

_SESSION_ID = re.compile(r"pbs_[0-9a-z]{26}")


def parse_session_id(text: str) -> SessionId | None:
    """Return the ID; None when the text is not one."""
    return SessionId(text) if _SESSION_ID.fullmatch(text) else None


def after_failure(error: FleetError, *, deliveries: int) -> Verdict:
    """Decide by what ReapSession failed with."""
    if isinstance(error, NotFound):
        return Verdict(outcome=Outcome.DONE, reason="there is no such session")
    if isinstance(error, InvalidArgument):
        return Verdict(outcome=Outcome.GIVEN_UP, reason=error.message)
    return tried_again(f"{error.reason}: {error.message}", deliveries=deliveries, shortest=error.retry_after)
