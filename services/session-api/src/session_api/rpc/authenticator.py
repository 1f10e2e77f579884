"""API keys on gRPC calls, and what each method asks of them."""

from collections.abc import Mapping

from fleetkit.errors import PermissionDenied
from fleetkit.rpc.caller import bearer_token
from session_api.domain.caller import Caller, Scope
from session_api.usecases.access import Access

_ANY_BUT_NODE = frozenset({Scope.MEMBER, Scope.SERVICE, Scope.ADMIN})
# Methods that need less common scopes, by the longest prefix; all others are for whoever may use sessions.
_REQUIRED = {
    "/browserfleet.node.v1.NodeService/": frozenset({Scope.NODE}),
    "/browserfleet.session.v1.SessionService/ReapSession": frozenset({Scope.SERVICE}),
}


class ApiKeyAuthenticator:
    """See Authenticator."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> Caller:
        caller = await self._access.caller(bearer_token(metadata))
        allowed = next((scopes for prefix, scopes in _REQUIRED.items() if method.startswith(prefix)), _ANY_BUT_NODE)
        if caller.scope not in allowed:
            needed = " or ".join(sorted(scope.lower() for scope in allowed))
            raise PermissionDenied(f"This method needs a key with the scope {needed}.", scope=needed)
        return caller
