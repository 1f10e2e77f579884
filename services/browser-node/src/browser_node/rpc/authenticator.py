"""Who may call a node: session-api, with a token that it signed for this very node."""

from collections.abc import Mapping
from typing import Protocol

from fleetkit.rpc.caller import bearer_token
from fleetkit.tokens import Claims


class ControlTokens(Protocol):
    """Checks tokens for calls to this node."""

    def verify_control(self, token: str) -> Claims:
        """Raises TokenInvalid."""
        ...


class NodeAuthenticator:
    """An Authenticator."""

    def __init__(self, tokens: ControlTokens) -> None:
        self._tokens = tokens

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        return self._tokens.verify_control(bearer_token(metadata))
