"""How clients get to the browser of a session: addresses with a signed token that the node itself can check."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.tokens import TokenInvalid, TokenSigner, TokenVerifier
from session_api.domain.caller import Caller
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Database

_AUDIENCE = "attach"
_TOKEN_TTL = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachEndpoint:
    """Both addresses of a running session, with one token."""

    token: str
    direct_url: str
    edge_url: str
    expire_time: datetime


class Attaching:
    """Makes and checks attach tokens: for one session, in one epoch, for 15 minutes."""

    def __init__(self, *, database: Database, signer: TokenSigner, clock: Clock, edge_url: str) -> None:
        self._database = database
        self._signer = signer
        self._verifier = TokenVerifier(signer.public_key_pem)
        self._clock = clock
        self._edge_url = edge_url.rstrip("/")

    def cdp_url(self, session_id: SessionId) -> str:
        """Return the session's lasting address, which holds no secret."""
        return f"{self._edge_url}/attach/{session_id}"

    def endpoint(self, session: Session) -> AttachEndpoint | None:
        """Return addresses with a fresh token; None unless RUNNING."""
        if session.state is not SessionState.RUNNING or session.allocation is None:
            return None
        expire_time = self._clock.now().replace(microsecond=0) + _TOKEN_TTL
        token = self._signer.sign_until(
            audience=_AUDIENCE,
            subject=session.id,
            expire_time=expire_time,
            epoch=str(session.epoch),
            organization=session.organization_id,
            scope="full",
        )
        path = f"/attach/{session.id}?token={token}"
        edge = self._edge_url.replace("http", "ws", 1)
        return AttachEndpoint(
            token=token,
            direct_url=f"{session.allocation.attach_url}{path}",
            edge_url=f"{edge}{path}",
            expire_time=expire_time,
        )

    async def by_key(self, caller: Caller, session_id: SessionId) -> Session:
        """Return a running session of the caller. Raises SessionNotFound, SessionNotOpen."""
        async with self._database.single() as tx:
            session = await tx.sessions.get(session_id, organization_id=caller.visible_organization)
        session.require_running()
        return session

    async def by_token(self, token: str, session_id: SessionId) -> Session:
        """Return the running session that a token is for. Raises TokenInvalid, SessionNotFound, SessionNotOpen."""
        claims = self._verifier.verify(token, audience=_AUDIENCE)
        if claims.subject != session_id:
            raise TokenInvalid("The token is wrong, has expired, or was made for something else.")
        async with self._database.single() as tx:
            session = await tx.sessions.get(
                session_id, organization_id=OrganizationId(claims.extra.get("organization", ""))
            )
        session.require_running()
        if claims.extra.get("epoch") != str(session.epoch):
            raise TokenInvalid("The token is wrong, has expired, or was made for something else.")
        return session
