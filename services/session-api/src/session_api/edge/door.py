"""Who may attach to what: an API key in a header, or a signed token in the URL."""

from collections.abc import Mapping
from dataclasses import dataclass

from fleetkit.errors import PermissionDenied, Unauthenticated
from session_api.domain.attach_scope import AttachGrant
from session_api.domain.caller import Scope
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Session
from session_api.usecases.access import Access
from session_api.usecases.attaching import Attachable, AttachEndpoint, Attaching


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A running session, the way to it, and whether the caller came with a token and without a key."""

    session: Session
    endpoint: AttachEndpoint
    by_token: bool


class AttachDoor:
    """Lets holders of good credentials in."""

    def __init__(self, *, access: Access, attaching: Attaching) -> None:
        self._access = access
        self._attaching = attaching

    async def admit(
        self, session_id: SessionId, headers: Mapping[str, str], token: str | None, *, live: bool = False
    ) -> Admission:
        """Return the way to a running session: to its live view, or else to CDP. It allows what the caller may do.

        Raises Unauthenticated (also TokenInvalid), PermissionDenied, SessionNotFound, SessionNotOpen.
        """
        found = await self._found(session_id, headers, token)
        session, grant = found.session, _usable(found.grant, live)
        endpoint = self._attaching.endpoint(session, grant)
        if endpoint is None:
            raise AssertionError("a running session has an endpoint")
        # A client that was given a signed URL may send its key along all the same.
        return Admission(session=session, endpoint=endpoint, by_token=token is not None and "x-api-key" not in headers)

    async def _found(self, session_id: SessionId, headers: Mapping[str, str], token: str | None) -> Attachable:
        if token is not None:
            return await self._attaching.by_token(token, session_id)
        key = headers.get("x-api-key")
        if key is None:
            raise Unauthenticated("Send an API key in the x-api-key header, or use a signed URL.")
        caller = await self._access.caller(key)
        if caller.scope is Scope.NODE:
            raise PermissionDenied("A node's key does not attach.", scope="member")
        return await self._attaching.by_key(caller, session_id)


def _usable(grant: AttachGrant, live: bool) -> AttachGrant:
    """Return what counts of a grant at one of the two doors."""
    if live:
        return grant.for_viewing
    if grant.is_live:
        raise PermissionDenied("The token is for the live view alone.", scope=grant.scope.lower())
    return grant
