"""A browser's own port of the forwarder: its way out, and the bytes that went over it."""

import asyncio
import random

from browser_node.adapters.egress.browser_connection import BrowserConnection
from browser_node.adapters.egress.dialer import Dialer, Link, Unreachable
from browser_node.adapters.egress.health import ProxyHealth, check
from browser_node.adapters.egress.limits import PortLimits
from browser_node.adapters.egress.peers import PeerUsers
from browser_node.adapters.egress.tunnel import Traffic, Tunnel
from browser_node.domain.egress import Destination, EgressDenied
from browser_node.domain.errors import ProxyUnreachable
from browser_node.domain.options import BrowserOptions, Receipt
from browser_node.domain.proxies import Route, Upstream, receipt_of

_LOOPBACK = "127.0.0.1"


class EgressPort:
    """Refuses everything until `use`. Only processes of the user `owner` are served."""

    def __init__(
        self, *, dialer: Dialer, health: ProxyHealth, peers: PeerUsers, owner: int, limits: PortLimits
    ) -> None:
        self._dialer = dialer
        self._health = health
        self._peers = peers
        self._owner = owner
        self.limits = limits
        self._members: set[BrowserConnection | Tunnel] = set()
        self._server: asyncio.Server | None = None
        self._route: Route | None = None
        self._current: Upstream | None = None
        self.traffic = Traffic()
        self.number = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes that the browser sent to the outside."""
        return self.traffic.sent

    @property
    def bytes_received(self) -> int:
        """Bytes that the browser got from the outside."""
        return self.traffic.received

    @property
    def connection_count(self) -> int:
        return len(self._members)

    async def listen(self) -> None:
        """Begin on a free port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: BrowserConnection(self), _LOOPBACK, 0, backlog=512)
        self.number = int(self._server.sockets[0].getsockname()[1])

    async def use(self, route: Route) -> None:
        """Let the browser out by this route from now on; what it had open is closed.

        A caller's own proxy is tried first, an operator's one unless it is known to answer; the session stays with
        it while it does. Raises ProxyUnreachable within a few seconds, and then the port refuses everything.
        """
        self._route = self._current = None
        self._abort_all()
        if not route.direct:
            self._current = await self._first_that_answers(route)
        self._route = route

    def receipt(self, options: BrowserOptions) -> Receipt:
        """Say by which way the browser's connections leave. Only after `use`."""
        if self._route is None:
            raise RuntimeError("no route was chosen")
        verified = self._current is not None and (self._route.custom or self._health.is_known(self._current))
        return receipt_of(options, self._route, upstream=self._current, verified=verified)

    async def close(self) -> None:
        """Close the port and every connection at once."""
        self._route = None
        if self._server is not None:
            self._server.close()
        self._abort_all()

    # For its connections.

    def admits(self, transport: asyncio.Transport) -> bool:
        if len(self._members) >= self.limits.connections:
            return False
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:
            return False
        return self._peers.user_of(peer=peer[:2], own=own[:2]) == self._owner

    def add(self, member: BrowserConnection | Tunnel) -> None:
        self._members.add(member)

    def remove(self, member: BrowserConnection | Tunnel) -> None:
        self._members.discard(member)

    async def open(self, destination: Destination, *, clear: bool) -> Link:
        route = self._route
        if route is None:
            raise EgressDenied("This browser has no way out yet.")
        if route.direct:
            return await self._dialer.open(destination)
        failure = Unreachable("No proxy answers.")
        for upstream in self._in_order(route):
            try:
                link = await self._dialer.open(destination, upstream=upstream, custom=route.custom, clear=clear)
            except Unreachable as error:
                if not error.upstream_fault:
                    self._health.answered(upstream)
                    raise
                self._health.failed(upstream)
                failure = error
            else:
                self._health.answered(upstream)
                if self._route is route:
                    self._current = upstream
                return link
        raise failure

    def _in_order(self, route: Route) -> list[Upstream]:
        """The session's own first, then the others, those that failed last."""
        others = [upstream for upstream in route.upstreams if upstream != self._current]
        return [*([self._current] if self._current else []), *self._health.sorted(others)]

    async def _first_that_answers(self, route: Route) -> Upstream:
        # By chance, so that sessions spread over a location's upstreams.
        candidates = self._health.sorted(random.sample(route.upstreams, len(route.upstreams)))
        failure: Exception = Unreachable("There is none.")
        for upstream in candidates:
            if not route.custom and self._health.is_known(upstream):
                return upstream
            try:
                await check(self._dialer, upstream, custom=route.custom)
            except (Unreachable, EgressDenied) as error:
                failure = error
                if not route.custom:
                    self._health.failed(upstream)
            else:
                if not route.custom:
                    self._health.answered(upstream)
                return upstream
        raise ProxyUnreachable(str(failure))

    def _abort_all(self) -> None:
        for member in list(self._members):
            member.abort()
