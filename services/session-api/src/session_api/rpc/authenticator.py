"""API keys on gRPC calls, and what each method asks of them."""

from collections.abc import Mapping

from fleetkit.errors import PermissionDenied
from fleetkit.rpc.caller import bearer_token
from session_api.domain.caller import Caller, Scope
from session_api.usecases.access import Access

_SESSIONS = frozenset({Scope.MEMBER, Scope.ADMIN, Scope.SERVICE})
_ADMINS = frozenset({Scope.ADMIN, Scope.SERVICE})
_OPERATORS = frozenset({Scope.SERVICE})
_NODES = frozenset({Scope.NODE})
# By prefix of the method; the first that fits counts. A method that fits none is nobody's.
_ALLOWED = (
    ("/browserfleet.node.v1.NodeService/RegisterNode", _NODES),
    ("/browserfleet.node.v1.NodeService/Heartbeat", _NODES),
    ("/browserfleet.node.v1.NodeService/", _OPERATORS),
    ("/browserfleet.session.v1.SessionService/ReapSession", _OPERATORS),
    ("/browserfleet.session.v1.SessionService/", _SESSIONS),
    ("/browserfleet.artifact.v1.ArtifactService/", _SESSIONS),
    ("/browserfleet.organization.v1.OrganizationService/CreateOrganization", _OPERATORS),
    ("/browserfleet.organization.v1.OrganizationService/ListOrganizations", _OPERATORS),
    ("/browserfleet.organization.v1.OrganizationService/UpdateOrganization", _OPERATORS),
    ("/browserfleet.organization.v1.OrganizationService/", _ADMINS),
    ("/browserfleet.usage.v1.UsageService/", _ADMINS),
)


class ApiKeyAuthenticator:
    """See Authenticator."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> Caller:
        caller = await self._access.caller(bearer_token(metadata))
        allowed = allowed_scopes(method)
        if caller.scope not in allowed:
            needed = " or ".join(sorted(scope.lower() for scope in allowed))
            raise PermissionDenied(f"This method needs a key with the scope {needed}.", scope=needed)
        return caller


def allowed_scopes(method: str) -> frozenset[Scope]:
    """Return the scopes of keys that may call a method (`/package.Service/Method`)."""
    return next((scopes for prefix, scopes in _ALLOWED if method.startswith(prefix)), frozenset())
