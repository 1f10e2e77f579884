"""Opens connections to the outside: direct or by an upstream, and only to what the policy has judged."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast

from python_socks import ProxyConnectionError, ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

from browser_node.adapters.egress.connect_handshake import ConnectHandshake
from browser_node.adapters.egress.resolver import Resolver
from browser_node.domain.egress import (
    AddressClass,
    Destination,
    EgressDenied,
    EgressPolicy,
    classify,
)
from browser_node.domain.hosts import Address
from browser_node.domain.proxies import Resolution, Upstream, UpstreamKind

_LOOKUP_TIMEOUT = timedelta(seconds=10)
_CONNECT_TIMEOUT = timedelta(seconds=10)
_HANDSHAKE_TIMEOUT = timedelta(seconds=20)
# A tunnel may be silent for hours; a peer that has vanished is noticed within two minutes all the same.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
# A name that nobody has (RFC 2606): a proxy asks for its credentials before it finds that out.
_NOWHERE = Destination(host="check.invalid", port=443)
_PROXY_AUTHENTICATION_REQUIRED = 407


class Unreachable(Exception):
    """A connection did not come about: with the status of a gateway, and whether the upstream itself is at fault."""

    def __init__(self, message: str, *, timed_out: bool = False, upstream_fault: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.upstream_fault = upstream_fault


@dataclass(slots=True)
class Link:
    """An open connection whose reading is paused.

    `early` was read already. With `proxied` it ends at that upstream, which takes HTTP requests with whole URLs.
    """

    transport: asyncio.Transport
    early: bytes = b""
    proxied: Upstream | None = None


def authorization(upstream: Upstream) -> bytes | None:
    """The value of Proxy-Authorization, where the upstream has credentials."""
    if not upstream.username:
        return None
    return b"Basic " + base64.b64encode(f"{upstream.username}:{upstream.password}".encode())


class Parked(asyncio.Protocol):
    """Keeps a new connection still until somebody takes it over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its class.
        cast("asyncio.Transport", transport).pause_reading()
        for level, option, value in _KEEPALIVE:
            transport.get_extra_info("socket").setsockopt(level, option, value)


class Dialer:
    """Connects as `policy` allows. `own` are further ports of the node that nobody may reach: they come and go."""

    def __init__(
        self, *, policy: EgressPolicy, resolver: Resolver, tls: ssl.SSLContext, own: Collection[int] = ()
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._tls = tls
        self._own = own

    async def open(
        self, destination: Destination, *, upstream: Upstream | None = None, custom: bool = False, clear: bool = False
    ) -> Link:
        """Connect to a destination. `clear`: for HTTP requests, which an HTTP upstream can take as they are.

        Raises EgressDenied, Unreachable.
        """
        policy = self._current_policy()
        policy.check_name(destination)
        if upstream is None:
            return Link(await self._connect(await self._judged(policy, destination), destination.port))
        near = await self._near(upstream, custom=custom)
        if _resolves_itself(upstream, near):
            policy.check_remote_name(destination)
        elif destination.address is None:
            destination = replace(destination, host=(await self._judged(policy, destination))[0])
            clear = False
        return await self._through(upstream, near, destination, clear=clear)

    async def check(self, upstream: Upstream, *, custom: bool) -> None:
        """See whether an upstream answers and takes its credentials. Raises EgressDenied, Unreachable."""
        near = await self._near(upstream, custom=custom)
        try:
            link = await self._through(upstream, near, _NOWHERE, clear=False)
        except Unreachable as error:
            if error.upstream_fault:
                raise
        else:
            link.transport.abort()

    def _current_policy(self) -> EgressPolicy:
        return replace(self._policy, own_ports=self._policy.own_ports.union(self._own))

    async def _judged(self, policy: EgressPolicy, destination: Destination) -> Sequence[Address]:
        return policy.reachable(destination, await self._answers(destination))

    async def _answers(self, destination: Destination) -> Sequence[Address]:
        if isinstance(destination.host, str):
            try:
                async with asyncio.timeout(_LOOKUP_TIMEOUT.total_seconds()):
                    return await self._resolver.resolve(destination.host)
            except TimeoutError:
                raise Unreachable("The name was not resolved in time.", timed_out=True) from None
            except (OSError, ValueError):
                raise Unreachable("The name has no address.") from None
        return [destination.host]

    async def _near(self, upstream: Upstream, *, custom: bool) -> Sequence[Address]:
        """The upstream's own addresses. The operator's are his affair; a caller's is judged as a page's would be."""
        try:
            if custom:
                policy = self._current_policy()
                policy.check_name(upstream.destination)
                return await self._judged(policy, upstream.destination)
            return await self._answers(upstream.destination)
        except Unreachable as error:
            raise Unreachable(
                f"The proxy is not found: {error}", timed_out=error.timed_out, upstream_fault=True
            ) from None
        except EgressDenied as error:
            raise EgressDenied(f"The proxy's address is not allowed: {error}") from None

    async def _connect(
        self, addresses: Sequence[Address], port: int, *, tls: ssl.SSLContext | None = None, name: str = ""
    ) -> asyncio.Transport:
        """Try one address after the other. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        failure = Unreachable("The server did not answer in time.", timed_out=True)
        share = _CONNECT_TIMEOUT.total_seconds() / len(addresses)
        for address in addresses:
            try:
                async with asyncio.timeout(share):
                    transport, _ = await loop.create_connection(
                        Parked, str(address), port, ssl=tls, server_hostname=name if tls else None
                    )
                    return transport
            except ssl.SSLError:
                failure = Unreachable("The TLS handshake failed.")
            except TimeoutError:
                failure = Unreachable("The server did not answer in time.", timed_out=True)
            except ConnectionRefusedError:
                failure = Unreachable("The server refused the connection.")
            except OSError:
                failure = Unreachable("The server was not reached.")
        raise failure

    async def _through(
        self, upstream: Upstream, near: Sequence[Address], destination: Destination, *, clear: bool
    ) -> Link:
        try:
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT.total_seconds()):
                if upstream.kind is UpstreamKind.SOCKS5:
                    return await self._through_socks(upstream, near[0], destination)
                return await self._through_http(upstream, near, destination, clear=clear)
        except TimeoutError:
            raise Unreachable("The proxy did not answer in time.", timed_out=True, upstream_fault=True) from None

    async def _through_http(
        self, upstream: Upstream, near: Sequence[Address], destination: Destination, *, clear: bool
    ) -> Link:
        tls = self._tls if upstream.kind is UpstreamKind.HTTPS else None
        try:
            transport = await self._connect(
                near, upstream.destination.port, tls=tls, name=str(upstream.destination.host)
            )
        except Unreachable as error:
            message = str(error).replace("The server", "The proxy", 1)
            raise Unreachable(message, timed_out=error.timed_out, upstream_fault=True) from None
        if clear:
            return Link(transport, proxied=upstream)
        try:
            handshake = ConnectHandshake(destination.authority, authorization(upstream))
            answer = await handshake.over(transport)
        except OSError:
            transport.abort()
            raise Unreachable("The proxy does not speak HTTP.", upstream_fault=True) from None
        except BaseException:
            transport.abort()
            raise
        if answer.accepted:
            return Link(transport, early=answer.early)
        transport.abort()
        if answer.status == _PROXY_AUTHENTICATION_REQUIRED:
            raise Unreachable("The proxy did not take the credentials (407).", upstream_fault=True)
        raise Unreachable(f"The proxy could not connect (it answered {answer.status}).")

    async def _through_socks(self, upstream: Upstream, near: Address, destination: Destination) -> Link:
        proxy = Proxy(
            ProxyType.SOCKS5,
            host=str(near),
            port=upstream.destination.port,
            username=upstream.username or None,
            password=upstream.password or None,
            rdns=True,
        )
        loop = asyncio.get_running_loop()
        try:
            connection = await proxy.connect(str(destination.host), destination.port, timeout=None)
        except ProxyConnectionError as error:
            refused = isinstance(error.__cause__, ConnectionRefusedError)
            message = "The proxy refused the connection." if refused else "The proxy was not reached."
            raise Unreachable(message, upstream_fault=True) from None
        except ProxyError as error:
            if error.error_code is not None:
                raise Unreachable(f"The proxy could not connect (SOCKS reply {error.error_code}).") from None
            message = "The proxy did not take the credentials." if "auth" in str(error) else "It is no SOCKS5 proxy."
            raise Unreachable(message, upstream_fault=True) from None
        except OSError:
            raise Unreachable("The proxy ended the connection.", upstream_fault=True) from None
        transport, _ = await loop.create_connection(Parked, sock=connection)
        return Link(transport)


def _resolves_itself(upstream: Upstream, near: Sequence[Address]) -> bool:
    if upstream.resolution is Resolution.AUTO:
        return all(classify(address) is AddressClass.PUBLIC for address in near)
    return upstream.resolution is Resolution.UPSTREAM
