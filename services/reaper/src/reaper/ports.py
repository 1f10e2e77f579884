"""What the reaper needs from the world."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from reaper.policy import SessionId, SessionView


class SessionGateway(Protocol):
    """session-api. Every method raises a FleetError: Unavailable when it does not answer."""

    async def reap(self, session_id: SessionId) -> SessionView:
        """Close the session if its deadline has passed by the database's clock; return it as it is then.

        Raises NotFound. Repeating it changes nothing.
        """
        ...

    def overdue(self, *, before: datetime) -> AsyncIterator[SessionId]:
        """Go through the open sessions whose deadline was before this instant, page by page."""
        ...
