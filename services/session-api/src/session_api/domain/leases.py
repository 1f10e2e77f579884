"""Who holds a session, and who has control of it: two leases that do not depend on each other."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

DEFAULT_CONTROL_TIMEOUT = timedelta(seconds=60)


class HolderKind(StrEnum):
    """What kind of run occupies a session."""

    TASK = "TASK"
    AGENT = "AGENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """One run's holding of a session. `expire_time` None: it ends with the session."""

    kind: HolderKind
    holder_id: str
    generation: int
    occupy_time: datetime
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLease:
    """One person's right to type and click, until `expire_time` unless it is prolonged."""

    holder: str
    generation: int
    take_time: datetime
    expire_time: datetime
