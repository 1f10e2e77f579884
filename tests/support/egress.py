"""A forwarder for tests: loopback is open, and names are what a test says."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from browser_node.adapters.egress.forwarder import Forwarder, forwarding
from browser_node.adapters.egress.limits import PortLimits
from browser_node.domain.egress import EgressPolicy, EgressRule
from browser_node.domain.hosts import Address
from browser_node.domain.options import CustomProxy
from browser_node.domain.proxies import ProxyLocations, Route, Upstream
from tests.support.upstream_proxies import PASSWORD, USERNAME, UpstreamProxy

_CERTIFICATES = Path(__file__).parents[2] / "deploy/tls/dev-certificates"


@dataclass
class PlayedNames:
    """A Resolver: each lookup of a name takes the next of its answers; the last one stays."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        left = self.answers.get(name)
        if not left:
            raise OSError("no such name")
        return [ip_address(text) for text in (left.pop(0) if len(left) > 1 else left[0])]


def a_policy(*, allow: str = "127.0.0.1", deny: str = "", own_ports: Sequence[int] = ()) -> EgressPolicy:
    return EgressPolicy(
        allow=tuple(EgressRule.parse(text) for text in allow.split()),
        deny=tuple(EgressRule.parse(text) for text in deny.split()),
        own_ports=frozenset(own_ports),
    )


@contextlib.asynccontextmanager
async def a_forwarder(
    *,
    policy: EgressPolicy | None = None,
    names: PlayedNames | None = None,
    locations: ProxyLocations | None = None,
    tls: ssl.SSLContext | None = None,
    limits: PortLimits | None = None,
) -> AsyncIterator[Forwarder]:
    async with forwarding(
        policy=policy or a_policy(),
        locations=locations or ProxyLocations(),
        resolver=names or PlayedNames(),
        tls=tls,
        limits=limits or PortLimits(),
    ) as forwarder:
        yield forwarder


def upstream_of(proxy: UpstreamProxy, *, password: str = PASSWORD) -> Upstream:
    return Upstream.parse(proxy.url, username=USERNAME, password=password)


def route_by(*proxies: UpstreamProxy, custom: bool = False) -> Route:
    return Route(
        location="" if custom else "US", upstreams=tuple(upstream_of(proxy) for proxy in proxies), custom=custom
    )


def custom_proxy(proxy: UpstreamProxy, *, password: str = PASSWORD) -> CustomProxy:
    return CustomProxy(url=proxy.url, username=USERNAME, password=password)


async def tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1 and return the contexts of its server and of clients that trust it."""

    def make() -> tuple[ssl.SSLContext, ssl.SSLContext]:
        subprocess.run([sys.executable, _CERTIFICATES, folder, "proxy"], check=True, capture_output=True)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "proxy/tls.crt", folder / "proxy/tls.key")
        return server, ssl.create_default_context(cafile=folder / "ca.crt")

    return await asyncio.to_thread(make)
