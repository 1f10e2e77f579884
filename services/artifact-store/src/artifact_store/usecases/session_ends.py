"""What the end of a session changes here: from then on its artifacts have a time at which they expire."""

from artifact_store.domain.retention import SessionEnd
from artifact_store.usecases.ports import Database
from fleetkit.clock import Clock


class EndedSessions:
    """Learns of ended sessions from events that may come twice, late and in any order."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def ended(self, end: SessionEnd, *, message_id: str) -> bool:
        """Apply an event once, however often it comes; tell whether it changed anything.

        The event carries all there is to know, so that none before it need have come; an event with a lower
        sequence than the one that is known changes nothing. Raises Unavailable: nothing was applied then, or all.
        """
        async with self._database.transaction() as tx:
            if not await tx.inbox.receive(message_id, now=self._clock.now()):
                return False
            return await tx.session_ends.put(end)
