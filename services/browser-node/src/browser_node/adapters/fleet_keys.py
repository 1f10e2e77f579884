"""Tokens of the fleet, checked on the node with the public key that its registration brought."""

from browser_node.adapters.chromium.browser import MAX_CLIENTS
from browser_node.domain.browser import SessionId
from browser_node.domain.errors import ClientLimit
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.ports import LiveBrowser
from fleetkit.tokens import Claims, TokenInvalid, TokenVerifier

_ATTACH = "attach"
_FULL = "full"


class FleetKeys:
    """The key that is trusted now. Nothing is trusted before the first registration."""

    def __init__(self) -> None:
        self._verifier: TokenVerifier | None = None
        self._node_id = ""

    def trust(self, public_key: str, *, node_id: str) -> None:
        self._verifier = TokenVerifier(public_key)
        self._node_id = node_id

    def verify(self, token: str, *, audience: str) -> Claims:
        """Return what a token says. Raises TokenInvalid."""
        if self._verifier is None:
            raise TokenInvalid("This node is not registered yet.")
        return self._verifier.verify(token, audience=audience)

    def verify_control(self, token: str) -> Claims:
        """Check a token for calls to this very node. Raises TokenInvalid."""
        return self.verify(token, audience=f"node:{self._node_id}")


class TokenGate:
    """Leads an attach token to the browser that it was made for."""

    def __init__(self, *, keys: FleetKeys, browsers: Browsers) -> None:
        self._keys = keys
        self._browsers = browsers

    def find_attachable(self, session_id: SessionId, token: str) -> LiveBrowser:
        claims = self._keys.verify(token, audience=_ATTACH)
        epoch = claims.extra.get("epoch", "")
        if claims.subject != session_id or claims.extra.get("scope") != _FULL or not epoch.isdecimal():
            raise TokenInvalid("The token was made for something else.")
        browser = self._browsers.find(session_id, int(epoch))
        if browser.client_count >= MAX_CLIENTS:
            raise ClientLimit(f"At most {MAX_CLIENTS} clients can be attached.", limit=str(MAX_CLIENTS))
        return browser
