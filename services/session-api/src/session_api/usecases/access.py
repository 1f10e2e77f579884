"""API keys: who a caller is."""

from collections import OrderedDict

from fleetkit.clock import Clock
from fleetkit.errors import Unauthenticated
from session_api.domain.caller import Caller, secret_digest
from session_api.usecases.ports import Database

# A key that was revoked, and limits that were changed, count everywhere after this long.
_REMEMBERED_SECONDS = 5.0
_MOST_REMEMBERED = 10_000


class Access:
    """Knows the holders of API keys; those of the last seconds by heart."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def caller(self, secret: str) -> Caller:
        """Return the holder of a key. Raises Unauthenticated, in the same words whatever is wrong with it."""
        digest = secret_digest(secret)
        known = self._known.get(digest)
        if known is not None and self._clock.monotonic() < known[1]:
            return known[0]
        async with self._database.single() as tx:
            caller = await tx.keys.caller(digest)
        if caller is None:
            self._known.pop(digest, None)
            raise Unauthenticated("The API key is not one of this fleet's.")
        self._known[digest] = (caller, self._clock.monotonic() + _REMEMBERED_SECONDS)
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """Ask the database again for every key: something about keys or organizations changed here."""
        self._known.clear()
