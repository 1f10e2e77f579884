"""Tokens of the fleet, checked on the node with the public key that its registration brought."""

from dataclasses import dataclass
from enum import StrEnum

from browser_node.domain.browser import SessionId
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.ports import LiveBrowser
from fleetkit.tokens import Claims, TokenInvalid, TokenVerifier

_ATTACH = "attach"


class Scope(StrEnum):
    """What the holder of an attach token may do; the names are those of its claim."""

    FULL = "full"
    OBSERVE = "observe"
    VIEW = "view"
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A browser that a token leads to, and what else the token says."""

    browser: LiveBrowser
    scope: Scope
    claims: Claims


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

    def admit(self, session_id: SessionId, token: str) -> Pass:
        """Raises TokenInvalid, BrowserNotFound, SessionNotOpen, StaleEpoch."""
        claims = self._keys.verify(token, audience=_ATTACH)
        epoch, scope = claims.extra.get("epoch", ""), claims.extra.get("scope")
        if claims.subject != session_id or scope not in set(Scope) or not epoch.isdecimal():
            raise TokenInvalid("The token was made for something else.")
        return Pass(browser=self._browsers.find(session_id, int(epoch)), scope=Scope(scope), claims=claims)
