"""API keys: who a caller is."""

from datetime import timedelta

from fleetkit.errors import Unauthenticated
from session_api.domain.caller import Caller, Scope, api_key_digest, new_api_key
from session_api.domain.session import OrganizationId
from session_api.usecases.ports import Database


class Access:
    """Makes API keys and knows their holders."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def caller(self, key: str) -> Caller:
        """Return the holder of a key. Raises Unauthenticated, in the same words whatever is wrong with it."""
        async with self._database.transaction() as tx:
            caller = await tx.keys.caller(api_key_digest(key))
        if caller is None:
            raise Unauthenticated("The API key is not one of this fleet's.")
        return caller

    async def create_key(
        self, *, organization_id: OrganizationId, scope: Scope, max_timeout: timedelta | None = None
    ) -> str:
        """Make a key, and its organization where there is none; only its digest is stored.

        `max_timeout`, where given, becomes the cap on the lifetime of the organization's sessions.
        """
        key = new_api_key()
        async with self._database.transaction() as tx:
            await tx.keys.add(
                api_key_digest(key), organization_id=organization_id, scope=scope, max_timeout=max_timeout
            )
        return key
