"""What to do about a deadline that has come: values and decisions only."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NewType

from fleetkit.errors import FleetError, InvalidArgument, NotFound

SessionId = NewType("SessionId", str)

_SESSION_ID = re.compile(r"pbs_[0-9a-z]{26}")

# After this many deliveries a message is given up and the sweep takes over.
MAX_DELIVERIES = 10
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(seconds=30)
# A message can come a little before the database's clock says so.
_NOT_YET_DELAY = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A message's claim: this session's deadline has come. It is a hint, and may be stale or early."""

    session_id: SessionId
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as session-api returned it; `expire_time` None: its countdown has not begun."""

    id: SessionId
    open: bool
    expire_time: datetime | None


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


def after_answer(deadline: Deadline, session: SessionView, *, deliveries: int) -> Verdict:
    """Decide by what ReapSession returned: an open session was either extended, or its deadline is a moment away."""
    if not session.open:
        return Verdict(outcome=Outcome.DONE, reason="the session has ended")
    if session.expire_time is None or session.expire_time > deadline.expire_time:
        # Whoever moved the deadline has scheduled a message for the new one.
        return Verdict(outcome=Outcome.DONE, reason="the deadline was moved")
    return _again("the deadline has not come by the database's clock", deliveries, shortest=_NOT_YET_DELAY)


def after_failure(error: FleetError, *, deliveries: int) -> Verdict:
    """Decide by what ReapSession failed with."""
    if isinstance(error, NotFound):
        return Verdict(outcome=Outcome.DONE, reason="there is no such session")
    if isinstance(error, InvalidArgument):
        return Verdict(outcome=Outcome.GIVEN_UP, reason=error.message)
    return _again(f"{error.reason}: {error.message}", deliveries, shortest=error.retry_after or _FIRST_DELAY)


def _again(reason: str, deliveries: int, *, shortest: timedelta) -> Verdict:
    if deliveries >= MAX_DELIVERIES:
        return Verdict(outcome=Outcome.GIVEN_UP, reason=reason)
    delay = min(shortest * 2.0 ** (deliveries - 1), _LONGEST_DELAY)
    return Verdict(outcome=Outcome.RETRY, reason=reason, delay=delay)
