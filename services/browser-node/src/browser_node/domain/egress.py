"""Where browsers may connect to: the judgement of hosts, ports and addresses, without any I/O.

A name is judged twice: by itself before it is resolved, and by each of its answers. Only an address that was judged
may be dialled, and exactly that one: a second look at the name could get another answer.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from browser_node.domain.hosts import Address, read_host

# Ports that the Fetch standard blocks, as these services can be abused by what looks like HTTP.
_UNSAFE_PORTS = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515),
        *(526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049),
        *(3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)
# Names that mean something else on every machine or in every network.
_LOCAL_SUFFIXES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "localdomain")


class EgressDenied(Exception):
    """The policy forbids a connection; the message says why in words for the page, without resolved addresses."""


class AddressClass(StrEnum):
    """What an address is for; the values are words for people."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local or metadata"
    PRIVATE = "private"
    RESERVED = "reserved"


_RANGES: tuple[tuple[AddressClass, tuple[str, ...]], ...] = (
    (AddressClass.LOOPBACK, ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128")),
    # The last three are metadata and platform services of clouds, outside of the link-local ranges.
    (
        AddressClass.LINK_LOCAL,
        ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32"),
    ),
    (
        AddressClass.PRIVATE,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    ),
    (
        AddressClass.RESERVED,
        (
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            # Protocol assignments with Teredo and ORCHID, documentation, 6to4, documentation.
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    ),
)
_NETWORKS = tuple((kind, ip_network(text)) for kind, texts in _RANGES for text in texts)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED, _COMPATIBLE, _NAT64 = IPv6Network("::ffff:0:0/96"), IPv6Network("::/96"), IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)


def classify(address: Address) -> AddressClass:
    """Tell what an address is for. One that carries an IPv4 address is as that one."""
    kind = next((kind for kind, network in _NETWORKS if address in network), None)
    if kind is not None:
        return kind
    if isinstance(address, IPv4Address):
        return AddressClass.PUBLIC
    carried = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _MAPPED or address in _COMPATIBLE or address in _NAT64:
        return classify(carried)
    if address not in _GLOBAL_UNICAST:
        return AddressClass.RESERVED
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return classify(carried)
    return AddressClass.PUBLIC


def plain(address: Address) -> Address:
    """Return an IPv4 address that is written as an IPv6 one as what it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where somebody wants to connect to: a name in lower-case ASCII or an address, and a port."""

    host: str | Address
    port: int

    @classmethod
    def parse(cls, authority: str, *, default_port: int | None = None) -> Self:
        """Read `host:port` or `[v6]:port`, with every odd way to write an address. Raises EgressDenied."""
        match = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?", authority)
        if match is None or (match[2] is None and default_port is None):
            raise EgressDenied("This is not a host and a port.")
        port = int(match[2]) if match[2] is not None else default_port or 0
        try:
            host = read_host(match[1])
        except ValueError as error:
            raise EgressDenied(f"The host is not valid: {error}.") from None
        if not 0 < port < 65536:
            raise EgressDenied(f"Port {port} does not exist.")
        return cls(host=host, port=port)

    @property
    def address(self) -> Address | None:
        """The address, when it was given as one."""
        return None if isinstance(self.host, str) else self.host

    @property
    def authority(self) -> str:
        """`host:port` as CONNECT has it."""
        return f"{bracketed(self.host)}:{self.port}"


def bracketed(host: str | Address) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRule:
    """An entry of an allow or deny list: an exact name, a suffix (`.example.com`) or a range; and a port, or all."""

    name: str = ""
    suffix: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `example.com`, `*.example.com`, `10.0.0.0/8`, `10.1.2.3:8080`, `[fd00::/8]:443`. Raises ValueError."""
        text = text.strip()
        if text.count(":") > 1 and "[" not in text:
            text = f"[{text}]"
        match = re.fullmatch(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", text)
        if match is None:
            raise ValueError("must be a host, *.domain or a range, each with or without :port")
        port = None if match[2] is None else int(match[2])
        if port is not None and not 0 < port < 65536:
            raise ValueError("has no such port")
        host = match[1]
        if "/" in host:
            return cls(network=ip_network(host.strip("[]")), port=port)
        if host.startswith("*."):
            name = read_host(host[2:])
            if not isinstance(name, str):
                raise ValueError("has a range for addresses, not *.")
            return cls(suffix=f".{name}", port=port)
        known = read_host(host)
        return cls(name=known, port=port) if isinstance(known, str) else cls(network=ip_network(known), port=port)

    def matches_name(self, destination: Destination) -> bool:
        host = destination.host
        if self.port not in (None, destination.port) or not isinstance(host, str):
            return False
        return host == self.name or bool(self.suffix and host.endswith(self.suffix))

    def matches_address(self, address: Address, port: int) -> bool:
        return self.port in (None, port) and self.network is not None and address in self.network


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """What browsers may connect to.

    Public addresses, unless `deny` has the name or the range; others only where `allow` has them. `deny` comes
    before `allow`. `own_ports` are the fleet's own: no rule opens them on an address that is not public.
    A name in `allow` opens the addresses of that name, link-local ones excepted: these need their range.
    """

    allow: tuple[EgressRule, ...] = ()
    deny: tuple[EgressRule, ...] = ()
    own_ports: frozenset[int] = frozenset()

    def check_name(self, destination: Destination) -> None:
        """Judge before anything is resolved. Raises EgressDenied."""
        if any(rule.matches_name(destination) for rule in self.deny):
            raise EgressDenied("The operator does not allow this host.")
        if destination.port in _UNSAFE_PORTS and not self._port_allowed(destination):
            raise EgressDenied(f"Port {destination.port} is not one for web pages.")
        if destination.address is not None:
            self.check_address(destination, destination.address)

    def check_remote_name(self, destination: Destination) -> None:
        """Judge what an upstream will resolve where no answer can be looked at. Raises EgressDenied."""
        self.check_name(destination)
        host = destination.host
        if not isinstance(host, str) or any(rule.matches_name(destination) for rule in self.allow):
            return
        if "." not in host or host.endswith(tuple(f".{suffix}" for suffix in _LOCAL_SUFFIXES)):
            raise EgressDenied("This name belongs to a local network.")

    def check_address(self, destination: Destination, address: Address) -> None:
        """Judge one answer for the name, or the address that was given. Raises EgressDenied."""
        address, port = plain(address), destination.port
        kind = classify(address)
        if any(rule.matches_address(address, port) for rule in self.deny):
            raise EgressDenied("The operator does not allow this address.")
        if kind is AddressClass.PUBLIC:
            return
        if port in self.own_ports:
            raise EgressDenied("This port belongs to the fleet itself.")
        if any(rule.matches_address(address, port) for rule in self.allow):
            return
        if kind is not AddressClass.LINK_LOCAL and any(rule.matches_name(destination) for rule in self.allow):
            return
        what = "This is" if destination.address is not None else "This name leads to"
        raise EgressDenied(f"{what} a {kind} address.")

    def reachable(self, destination: Destination, answers: Iterable[Address]) -> tuple[Address, ...]:
        """Return the answers that may be dialled, in their order. Raises EgressDenied when there is none."""
        judged: list[Address] = []
        denied = EgressDenied("This name has no address.")
        for answer in answers:
            try:
                self.check_address(destination, answer)
                judged.append(plain(answer))
            except EgressDenied as error:
                denied = error
        if not judged:
            raise denied
        return tuple(judged)

    def _port_allowed(self, destination: Destination) -> bool:
        rules = [rule for rule in self.allow if rule.port == destination.port]
        return any(
            rule.matches_name(destination)
            or (destination.address is not None and rule.matches_address(destination.address, destination.port))
            for rule in rules
        )


def address_of(text: str) -> Address:
    """Read an address as resolvers write it, without a zone. Raises ValueError."""
    return plain(ip_address(text.partition("%")[0]))
