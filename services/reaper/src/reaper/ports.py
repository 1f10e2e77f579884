"""What the reaper needs from the world."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from reaper.policy import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """Nodes that were given up, sessions that failed with them, and sessions closed because a drain was due."""

    lost: int = 0
    failed_sessions: int = 0
    drained_sessions: int = 0


class SessionGateway(Protocol):
    """Sessions at session-api. Every method raises a FleetError: Unavailable when it does not answer."""

    async def reap(self, session_id: SessionId) -> None:
        """Have done what is due for the session by the database's clock, if anything is.

        Raises NotFound. Repeating it changes nothing.
        """
        ...

    def due(self) -> AsyncIterator[SessionId]:
        """Go once through the sessions for which something is due by the database's clock, page by page."""
        ...


class NodeGateway(Protocol):
    """Nodes at session-api. Every method raises a FleetError: Unavailable when it does not answer."""

    async def reap(self) -> NodeReport:
        """Have the sessions of lost nodes failed, and closed what is left on nodes whose drain is due.

        Repeating it changes nothing.
        """
        ...
