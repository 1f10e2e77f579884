"""What goes wrong at present, and since when nothing did: invariants that promise times count from there."""

from typing import Literal

from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits
from tests.simulation.loop import VirtualLoop
from tests.simulation.machines import Machine

# Seconds by which a caller's limits may be older than the organization's: a replica may stand still with them.
_LIMITS_KNOWN_FOR = 40.0

Quota = Literal["max_open_sessions", "max_creates_per_minute"]


class Troubles:
    """The troubles of the core: database, replicas, reapers and network together. Machines keep their own."""

    def __init__(self, loop: VirtualLoop, *, is_random: bool) -> None:
        self._loop = loop
        # Any call may fail at any time.
        self.is_random = is_random
        self._lasting = 0
        self._last = -1000.0
        self._away = 0
        self._last_away = -1000.0
        self._limits: dict[OrganizationId, list[tuple[float, Limits]]] = {}

    def begin(self, *, away: bool = False) -> None:
        """The core has a trouble; `away`: no heartbeat can be answered meanwhile."""
        self._lasting += 1
        self._away += away

    def end(self, *, away: bool = False) -> None:
        self._lasting -= 1
        self._last = self._loop.time()
        if away:
            self._away -= 1
            self._last_away = self._loop.time()

    def core_is_well_for(self, seconds: float) -> bool:
        return self._lasting == 0 and self._loop.time() - self._last > seconds

    def core_was_away(self) -> bool:
        """Whether a call that just failed may have done so because the core was away."""
        return not self.is_random and (self._away > 0 or self._loop.time() - self._last_away < 6.0)

    def well_for(self, machine: Machine, seconds: float) -> bool:
        return machine.is_well and self._loop.time() - machine.last_trouble > seconds

    def limited(self, organization_id: OrganizationId, limits: Limits) -> None:
        self._limits.setdefault(organization_id, []).append((self._loop.time(), limits))

    def highest_limit(self, organization_id: OrganizationId, quota: Quota) -> int | None:
        """Return the highest limit that a caller may still go by; None: no bound."""
        known = self._limits.get(organization_id, [])
        recent = [limits for time, limits in known if self._loop.time() - time < _LIMITS_KNOWN_FOR]
        before = [limits for time, limits in known if self._loop.time() - time >= _LIMITS_KNOWN_FOR]
        values = [getattr(limits, quota) for limits in (before[-1:] + recent)]
        return None if not values or None in values else max(values)
