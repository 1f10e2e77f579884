"""What becomes of a message that something is due for a session: values and decisions only."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import NewType

from fleetkit.errors import FleetError, InvalidArgument, NotFound

SessionId = NewType("SessionId", str)

_SESSION_ID = re.compile(r"pbs_[0-9a-z]{26}")

# After this many deliveries a message is given up and the sweep takes over.
MAX_DELIVERIES = 10
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(seconds=30)


class Outcome(Enum):
    # The message has done its work.
    DONE = "DONE"
    # Deliver it again after a while.
    RETRY = "RETRY"
    # It cannot be acted on, now or later.
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a message; `delay` counts for RETRY."""

    outcome: Outcome
    reason: str
    delay: timedelta = timedelta(0)


def parse_session_id(text: str) -> SessionId | None:
    """Return the ID; None when the text is not one."""
    return SessionId(text) if _SESSION_ID.fullmatch(text) else None


def after_failure(error: FleetError, *, deliveries: int) -> Verdict:
    """Decide by what ReapSession failed with."""
    if isinstance(error, NotFound):
        return Verdict(outcome=Outcome.DONE, reason="there is no such session")
    if isinstance(error, InvalidArgument):
        return Verdict(outcome=Outcome.GIVEN_UP, reason=error.message)
    return tried_again(
        f"{error.reason}: {error.message}", deliveries=deliveries, shortest=error.retry_after or _FIRST_DELAY
    )


def tried_again(reason: str, *, deliveries: int, shortest: timedelta = _FIRST_DELAY) -> Verdict:
    """Have the message delivered again, ever more slowly; after its last delivery it is given up."""
    if deliveries >= MAX_DELIVERIES:
        return Verdict(outcome=Outcome.GIVEN_UP, reason=reason)
    delay = min(shortest * 2.0 ** (deliveries - 1), _LONGEST_DELAY)
    return Verdict(outcome=Outcome.RETRY, reason=reason, delay=delay)
