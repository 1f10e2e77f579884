"""browser-nodes over gRPC: one channel a node address, kept while it is used."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from browserfleet.node.v1 import browser_service_pb2, browser_service_pb2_grpc
from browserfleet.session.v1 import session_pb2
from fleetkit import errors
from fleetkit.clock import Clock
from fleetkit.rpc.client import bearer, channel, typed_errors
from fleetkit.rpc.times import duration
from fleetkit.rpc.tls import TlsIdentity
from fleetkit.tokens import TokenSigner
from session_api.browser_messages import facts_of, spec_message
from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed, NodeUnavailable, OptionUnavailable, ProxyUnreachable
from session_api.domain.identifiers import NodeId
from session_api.domain.session import Allocation, Session
from session_api.usecases.sealing import SecretSealing

_START_TIMEOUT_SECONDS = 40.0
_STOP_TIMEOUT_SECONDS = 15.0
_CALL_TIMEOUT_SECONDS = 5.0
_CALL_TOKEN_TTL = timedelta(minutes=2)
# A node uploads what a session left also after its end, through outages of the store.
_ARTIFACT_TOKEN_EXTRA = timedelta(hours=24)
_RETRY_AFTER = timedelta(seconds=2)
# Of what a node says is wrong: it goes to the caller, and into the session.
_LONGEST_MESSAGE = 500


class GrpcNodeGateway:
    """See NodeGateway. Used within `async with`, which closes the channels."""

    def __init__(
        self, signer: TokenSigner, sealing: SecretSealing, *, clock: Clock, tls: TlsIdentity | None = None
    ) -> None:
        self._signer = signer
        self._sealing = sealing
        self._clock = clock
        self._tls = tls
        self._channels = contextlib.AsyncExitStack()
        self._stubs: dict[str, browser_service_pb2_grpc.BrowserServiceAsyncStub] = {}
        # By node, with the monotonic seconds until which each is used.
        self._call_tokens: dict[NodeId, tuple[str, float]] = {}

    async def start_browser(self, session: Session) -> BrowserFacts:
        stub, metadata = await self._node(session)
        request = browser_service_pb2.StartBrowserRequest(
            session_id=session.id,
            epoch=session.epoch,
            organization_id=session.organization_id,
            spec=spec_message(session.spec, self._sealing.open(session)),
            remaining=duration(session.timeout),
            artifact_token=self._artifact_token(session),
        )
        with _node_errors():
            browser = await stub.StartBrowser(request, metadata=metadata, timeout=_START_TIMEOUT_SECONDS)
        return facts_of(browser)

    async def stop_browser(self, session: Session, *, reason: CloseReason) -> None:
        stub, metadata = await self._node(session)
        request = browser_service_pb2.StopBrowserRequest(
            session_id=session.id,
            epoch=session.epoch,
            close_reason=session_pb2.CloseReason.Value(f"CLOSE_REASON_{reason}"),
        )
        with _node_errors():
            await stub.StopBrowser(request, metadata=metadata, timeout=_STOP_TIMEOUT_SECONDS)

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        stub, metadata = await self._node(session)
        request = browser_service_pb2.SetDeadlineRequest(
            session_id=session.id, epoch=session.epoch, remaining=duration(remaining)
        )
        with _node_errors():
            await stub.SetDeadline(request, metadata=metadata, timeout=_CALL_TIMEOUT_SECONDS)

    async def set_control(self, session: Session, *, generation: int, held: bool) -> None:
        stub, metadata = await self._node(session)
        request = browser_service_pb2.SetControlRequest(
            session_id=session.id, epoch=session.epoch, generation=generation, held=held
        )
        with _node_errors():
            await stub.SetControl(request, metadata=metadata, timeout=_CALL_TIMEOUT_SECONDS)

    async def __aenter__(self) -> GrpcNodeGateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channels.aclose()

    async def _node(
        self, session: Session
    ) -> tuple[browser_service_pb2_grpc.BrowserServiceAsyncStub, tuple[tuple[str, str], ...]]:
        allocation = _allocation(session)
        stub = self._stubs.get(allocation.node_address)
        if stub is None:
            opened = await self._channels.enter_async_context(
                channel(allocation.node_address, retries=False, tls=self._tls)
            )
            stub = self._stubs.setdefault(allocation.node_address, browser_service_pb2_grpc.BrowserServiceStub(opened))
        return stub, bearer(self._call_token(allocation.node_id))

    def _call_token(self, node_id: NodeId) -> str:
        """A token for calls to one node, used again while it is good for a while yet: signing costs as much as calling."""
        token, good_until = self._call_tokens.get(node_id, ("", 0.0))
        now = self._clock.monotonic()
        if now >= good_until:
            token = self._signer.sign(audience=f"node:{node_id}", subject="session-api", ttl=_CALL_TOKEN_TTL)
            self._call_tokens[node_id] = (token, now + (_CALL_TOKEN_TTL / 2).total_seconds())
        return token

    def _artifact_token(self, session: Session) -> str:
        return self._signer.sign(
            audience="artifact-store",
            subject=_allocation(session).node_id,
            ttl=session.lifetime_limit + _ARTIFACT_TOKEN_EXTRA,
            organization=session.organization_id,
            session=session.id,
            scope="write",
        )


def _allocation(session: Session) -> Allocation:
    if session.allocation is None:
        raise ValueError("the session was not allocated to a node")
    return session.allocation


@contextlib.contextmanager
def _node_errors() -> Iterator[None]:
    try:
        with typed_errors():
            yield
    except errors.FleetError as error:
        message = error.message.replace("\0", "")[:_LONGEST_MESSAGE]
        match error.reason:
            case BrowserStartFailed.reason:
                raise BrowserStartFailed(message, retry_after=_RETRY_AFTER) from error
            case OptionUnavailable.reason:
                option, value = (error.metadata.get(name, "")[:_LONGEST_MESSAGE] for name in ("option", "value"))
                raise OptionUnavailable(message, option=option, value=value) from error
            case ProxyUnreachable.reason:
                raise ProxyUnreachable(message) from error
        if isinstance(error, errors.Unavailable | errors.DeadlineExceeded):
            raise NodeUnavailable("The node does not answer.", retry_after=_RETRY_AFTER) from error
        error.message = message
        raise
