"""Organizations: what they may use, and whether a wish fits into it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from session_api.domain.errors import QuotaExceeded
from session_api.domain.identifiers import OrganizationId
from session_api.domain.session import MAX_TIMEOUT

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an organization may use; None does not bound."""

    max_open_sessions: int | None = None
    max_creates_per_minute: int | None = None
    max_minutes_per_day: int | None = None
    # Cap on a session's lifetime: a longer one is capped, with a warning.
    max_timeout: timedelta | None = None

    @property
    def count_something(self) -> bool:
        """Whether a create must look at what the organization has used."""
        return (self.max_open_sessions, self.max_creates_per_minute, self.max_minutes_per_day) != (None, None, None)

    @property
    def lifetime(self) -> timedelta:
        """The longest lifetime of a session."""
        return min(self.max_timeout or MAX_TIMEOUT, MAX_TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization. `weight` is its share of the fleet while there is a queue, relative to others'."""

    id: OrganizationId
    limits: Limits = field(default_factory=Limits)
    weight: float = 1.0
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """What an organization has used, counted in one transaction."""

    # Sessions that hold a slot.
    open_sessions: int
    creates_last_minute: int
    # Time of today's sessions (UTC), open ones included.
    used_today: timedelta


def check_quota(limits: Limits, used: Consumption, *, now: datetime) -> None:
    """Raise QuotaExceeded when no session may be created now. Open sessions are no fault: a new one waits for them."""
    rate = limits.max_creates_per_minute
    if rate is not None and used.creates_last_minute >= rate:
        raise QuotaExceeded(
            f"The organization may create {rate} sessions a minute.",
            retry_after=_MINUTE / max(rate, 1),
            quota="creates_per_minute",
            limit=str(rate),
            used=str(used.creates_last_minute),
        )
    if limits.max_open_sessions == 0:
        raise QuotaExceeded(
            "The organization may have no sessions.", quota="open_sessions", limit="0", used=str(used.open_sessions)
        )
    minutes = limits.max_minutes_per_day
    if minutes is not None and used.used_today >= minutes * _MINUTE:
        raise QuotaExceeded(
            f"The organization has used its {minutes} minutes of today (UTC).",
            retry_after=start_of_day(now) + _DAY - now,
            quota="minutes_per_day",
            limit=str(minutes),
            used=f"{used.used_today / _MINUTE:.0f}",
        )


def may_open(limits: Limits, open_sessions: int) -> bool:
    """Whether one more session may hold a slot."""
    return limits.max_open_sessions is None or open_sessions < limits.max_open_sessions


def start_of_day(now: datetime) -> datetime:
    """Return the midnight (UTC) before an instant in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
