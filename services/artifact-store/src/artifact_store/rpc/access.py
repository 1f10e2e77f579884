"""Who may do what: tokens that session-api signed for this service."""

from collections.abc import Mapping
from dataclasses import dataclass

from artifact_store.domain.artifact import OrganizationId, SessionId
from fleetkit.errors import PermissionDenied
from fleetkit.rpc.caller import bearer_token, current_caller
from fleetkit.tokens import TokenVerifier

AUDIENCE = "artifact-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploader:
    """A node, for one session."""

    organization_id: OrganizationId
    session_id: SessionId

    def admit(self, session_id: str) -> None:
        """Raise PermissionDenied when the token is for another session."""
        if session_id != self.session_id:
            raise PermissionDenied("The token is for another session.", scope="write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody of one organization, by way of session-api."""

    organization_id: OrganizationId


class TokenAuthenticator:
    """Makes an Uploader or a Reader of the token that a call carries."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        """Raises Unauthenticated, TokenInvalid, and PermissionDenied when the token is not for `method`."""
        claims = self._verifier.verify(bearer_token(metadata), audience=AUDIENCE).extra
        needed = "write" if method.endswith("/UploadArtifact") else "read"
        organization, session = claims.get("organization", ""), claims.get("session", "")
        if claims.get("scope") != needed or not organization or (needed == "write" and not session):
            raise PermissionDenied(f"The token lacks the scope {needed}.", scope=needed)
        organization_id = OrganizationId(organization)
        if needed == "write":
            return Uploader(organization_id=organization_id, session_id=SessionId(session))
        return Reader(organization_id=organization_id)


def uploader() -> Uploader:
    """Return who makes the present call."""
    return current_caller(Uploader)


def reader() -> Reader:
    """Return who makes the present call."""
    return current_caller(Reader)
