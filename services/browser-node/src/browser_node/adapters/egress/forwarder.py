"""The node's egress forwarder: every connection of every browser goes through a port of it."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import timedelta

from browser_node.adapters.egress.dialer import Dialer
from browser_node.adapters.egress.health import ProxyHealth
from browser_node.adapters.egress.limits import PortLimits
from browser_node.adapters.egress.peers import PeerUsers
from browser_node.adapters.egress.port import EgressPort
from browser_node.adapters.egress.resolver import Resolver, SystemResolver
from browser_node.domain.egress import EgressPolicy
from browser_node.domain.options import BrowserOptions
from browser_node.domain.proxies import ProxyLocations, Route
from fleetkit.lifecycle import background, every

_CHECK_INTERVAL = timedelta(seconds=30)
_LIMITS = PortLimits()


class Forwarder:
    """Opens ports. Made by `forwarding`."""

    def __init__(
        self, *, dialer: Dialer, locations: ProxyLocations, peers: PeerUsers, ports: "OpenPorts", limits: PortLimits
    ) -> None:
        self._dialer = dialer
        self._locations = locations
        self._peers = peers
        self._ports = ports
        self._limits = limits
        self.health = ProxyHealth(dialer=dialer, locations=locations.upstreams)

    @property
    def locations(self) -> list[str]:
        """The proxy locations that sessions may ask for."""
        return sorted(self._locations.upstreams)

    def route_for(self, options: BrowserOptions) -> Route:
        """Return the route that a session asks for. Raises OptionUnavailable, InvalidArgument."""
        return self._locations.route_for(options)

    @contextlib.asynccontextmanager
    async def port(self, *, owner: int | None) -> AsyncIterator[EgressPort]:
        """A port of a browser's own, as a block; see `open`."""
        port = await self.open(owner=owner)
        try:
            yield port
        finally:
            await self.close(port)

    async def open(self, *, owner: int | None) -> EgressPort:
        """Open a port for the browser of this user, None for the node's own. It has to be closed again."""
        user = os.geteuid() if owner is None else owner
        port = EgressPort(dialer=self._dialer, health=self.health, peers=self._peers, owner=user, limits=self._limits)
        await port.listen()
        self._ports.add(port)
        return port

    async def close(self, port: EgressPort) -> None:
        """Close a port with all its connections."""
        self._ports.discard(port)
        await port.close()


class OpenPorts(Collection[int]):
    """The numbers of all open ports: pages may not reach them, their neighbours' ones least of all."""

    def __init__(self) -> None:
        self._ports: set[EgressPort] = set()

    def add(self, port: EgressPort) -> None:
        self._ports.add(port)

    def discard(self, port: EgressPort) -> None:
        self._ports.discard(port)

    async def close_all(self) -> None:
        for port in list(self._ports):
            await port.close()
        self._ports.clear()

    def __contains__(self, number: object) -> bool:
        return any(port.number == number for port in self._ports)

    def __iter__(self) -> Iterator[int]:
        return iter([port.number for port in self._ports])

    def __len__(self) -> int:
        return len(self._ports)


@contextlib.asynccontextmanager
async def forwarding(
    *,
    policy: EgressPolicy,
    locations: ProxyLocations,
    resolver: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
    check_interval: timedelta = _CHECK_INTERVAL,
    limits: PortLimits = _LIMITS,
) -> AsyncIterator[Forwarder]:
    """Run a forwarder within the block, which closes what is open at its end.

    `tls` is for https upstreams; by default the machine's certificate authorities are trusted. Raises OSError where
    the kernel does not tell whose a connection is.
    """
    system = SystemResolver()
    peers = PeerUsers()
    ports = OpenPorts()
    if tls is None:
        tls = await asyncio.to_thread(ssl.create_default_context)
    dialer = Dialer(policy=policy, resolver=resolver or system, tls=tls, own=ports)
    forwarder = Forwarder(dialer=dialer, locations=locations, peers=peers, ports=ports, limits=limits)
    checks = [every(check_interval, forwarder.health.check_all)] if locations.upstreams else []
    try:
        async with background(*checks):
            yield forwarder
    finally:
        await ports.close_all()
        peers.close()
        system.close()
