"""What becomes of a message that a consumer was given: values and decisions only."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

# After this many deliveries that failed a message is given up.
MAX_DELIVERIES = 10
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(seconds=30)


class Outcome(Enum):
    # The message has done its work.
    DONE = "DONE"
    # It is none of this consumer's business, or of a type that this version does not know.
    IGNORED = "IGNORED"
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


def tried_again(reason: str, *, deliveries: int, shortest: timedelta | None = None) -> Verdict:
    """Have the message delivered again, ever more slowly; after its last delivery it is given up."""
    if deliveries >= MAX_DELIVERIES:
        return Verdict(outcome=Outcome.GIVEN_UP, reason=reason)
    return waited_for(reason, deliveries=deliveries, shortest=shortest)


def waited_for(reason: str, *, deliveries: int, shortest: timedelta | None = None) -> Verdict:
    """Have the message delivered again, ever more slowly, however often: what is in its way is not the message."""
    # The exponent is bounded: a message may have come thousands of times.
    delay = min((shortest or _FIRST_DELAY) * 2.0 ** min(deliveries - 1, 16), _LONGEST_DELAY)
    return Verdict(outcome=Outcome.RETRY, reason=reason, delay=delay)
