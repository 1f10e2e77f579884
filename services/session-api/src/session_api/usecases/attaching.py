"""How clients get to the browser of a session: addresses with a signed token that the node itself can check."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.tokens import Claims, TokenInvalid, TokenSigner, TokenVerifier
from session_api.domain.attach_scope import AttachGrant, AttachScope
from session_api.domain.caller import Caller
from session_api.domain.errors import ControlTaken
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Database

_AUDIENCE = "attach"
_TOKEN_TTL = timedelta(minutes=15)
_EVERYTHING = AttachGrant()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachEndpoint:
    """Both addresses of a running session, with one token, and what the token grants."""

    token: str
    grant: AttachGrant
    direct_url: str
    edge_url: str
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachable:
    """A running session, and what its caller may do with it."""

    session: Session
    grant: AttachGrant


class Attaching:
    """Makes and checks attach tokens: for one session, in one epoch, for at most 15 minutes."""

    def __init__(self, *, database: Database, signer: TokenSigner, clock: Clock, edge_url: str) -> None:
        self._database = database
        self._signer = signer
        self._verifier = TokenVerifier(signer.public_key_pem)
        self._clock = clock
        self._edge_url = edge_url.rstrip("/")

    def cdp_url(self, session_id: SessionId) -> str:
        """Return the session's lasting address, which holds no secret."""
        return f"{self._edge_url}/attach/{session_id}"

    async def granted(
        self, caller: Caller, session_id: SessionId, grant: AttachGrant, *, ttl: timedelta | None
    ) -> AttachEndpoint:
        """Return addresses with a fresh token that grants as much; `ttl` None: the longest.

        Raises SessionNotFound, SessionNotOpen; ControlTaken when control is to be granted and the lease is another one.
        """
        async with self._database.transaction() as tx:
            session, now = (
                await tx.sessions.get(session_id, organization_id=caller.visible_organization),
                await tx.now(),
            )
        session.require_running()
        if grant.scope is AttachScope.CONTROL:
            lease = session.control if session.control and now < session.control.expire_time else None
            if lease is None or lease.generation != grant.control_generation:
                raise ControlTaken(
                    f"{lease.holder} has control of the session." if lease else "Nobody has control of the session.",
                    holder=lease.holder if lease else "",
                    generation=str(lease.generation if lease else 0),
                )
        endpoint = self.endpoint(session, grant, ttl=ttl or _TOKEN_TTL)
        if endpoint is None:
            raise AssertionError("a running session has an endpoint")
        return endpoint

    def endpoint(
        self, session: Session, grant: AttachGrant = _EVERYTHING, *, ttl: timedelta = _TOKEN_TTL
    ) -> AttachEndpoint | None:
        """Return addresses with a fresh token; None unless RUNNING."""
        if session.state is not SessionState.RUNNING or session.allocation is None:
            return None
        expire_time = self._clock.now().replace(microsecond=0) + ttl
        control = {"control": str(grant.control_generation)} if grant.scope is AttachScope.CONTROL else {}
        token = self._signer.sign_until(
            audience=_AUDIENCE,
            subject=session.id,
            expire_time=expire_time,
            epoch=str(session.epoch),
            organization=session.organization_id,
            scope=grant.scope.lower(),
            **control,
        )
        path = f"/{'live' if grant.is_live else 'attach'}/{session.id}?token={token}"
        edge = self._edge_url.replace("http", "ws", 1)
        return AttachEndpoint(
            token=token,
            grant=grant,
            direct_url=f"{session.allocation.attach_url}{path}",
            edge_url=f"{edge}{path}",
            expire_time=expire_time,
        )

    async def by_key(self, caller: Caller, session_id: SessionId) -> Attachable:
        """Return a running session of the caller, who may do everything with it. Raises SessionNotFound, SessionNotOpen."""
        async with self._database.single() as tx:
            session = await tx.sessions.get(session_id, organization_id=caller.visible_organization)
        session.require_running()
        return Attachable(session=session, grant=_EVERYTHING)

    async def by_token(self, token: str, session_id: SessionId) -> Attachable:
        """Return the running session that a token is for. Raises TokenInvalid, SessionNotFound, SessionNotOpen."""
        claims = self._verifier.verify(token, audience=_AUDIENCE)
        if claims.subject != session_id:
            raise TokenInvalid("The token is wrong, has expired, or was made for something else.")
        async with self._database.single() as tx:
            session = await tx.sessions.get(
                session_id, organization_id=OrganizationId(claims.extra.get("organization", ""))
            )
        session.require_running()
        grant = _grant_of(claims)
        if claims.extra.get("epoch") != str(session.epoch) or grant is None:
            raise TokenInvalid("The token is wrong, has expired, or was made for something else.")
        return Attachable(session=session, grant=grant)


def _grant_of(claims: Claims) -> AttachGrant | None:
    """Return what a token grants; None for what this version does not know."""
    scope, generation = claims.extra.get("scope", "").upper(), claims.extra.get("control", "0")
    if scope not in AttachScope.__members__ or not generation.isdecimal():
        return None
    return AttachGrant(scope=AttachScope(scope), control_generation=int(generation))
