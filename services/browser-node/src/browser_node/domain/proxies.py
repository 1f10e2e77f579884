"""Proxies between a browser and the web: the operator's by location, and callers' own."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from browser_node.domain.egress import Destination, EgressDenied
from browser_node.domain.errors import OptionUnavailable
from browser_node.domain.options import BrowserOptions, CustomProxy, Receipt, ReceiptState
from fleetkit.errors import InvalidArgument

# Asks for a direct connection where the operator set a default location.
DIRECT = "NONE"


class UpstreamKind(StrEnum):
    """How an upstream is spoken to."""

    HTTP = "http"
    HTTPS = "https"
    SOCKS5 = "socks5"


class Resolution(StrEnum):
    """Who resolves names of pages.

    AUTO: the node where the upstream stands in a private network, and so could reach what pages must not; else the
    upstream, which is nearer to where the pages are wanted from.
    """

    AUTO = "auto"
    NODE = "node"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One proxy. Only `kind` may be shown to callers."""

    kind: UpstreamKind
    destination: Destination = field(repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    resolution: Resolution = Resolution.AUTO

    @classmethod
    def parse(
        cls, url: str, *, username: str = "", password: str = "", resolution: Resolution = Resolution.AUTO
    ) -> Self:
        """Read `http|https|socks5://host:port`. Raises ValueError, with words that do not repeat any of it."""
        if any(ord(character) < 0x21 or ord(character) == 0x7F or character == "\\" for character in url):
            raise ValueError("the URL has blanks, backslashes or control characters")
        scheme, separator, authority = url.partition("://")
        if not separator or scheme not in UpstreamKind.__members__.values():
            raise ValueError("the URL must begin with http://, https:// or socks5://")
        authority = authority.removesuffix("/")
        if any(character in authority for character in "/?#@"):
            raise ValueError("the URL must be scheme://host:port, with the credentials in their own fields")
        for text in (username, password):
            if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
                raise ValueError("the credentials have control characters")
            if len(text.encode()) > 255:
                raise ValueError("the credentials are longer than 255 bytes")
        if scheme == UpstreamKind.SOCKS5 and not (username + password).isascii():
            raise ValueError("credentials at a SOCKS5 proxy must be ASCII")
        if bool(username) != bool(password) and (scheme == UpstreamKind.SOCKS5 or not username):
            raise ValueError("the credentials must have a user name, and at a SOCKS5 proxy a password too")
        if ":" in username and scheme != UpstreamKind.SOCKS5:
            raise ValueError("a user name at an HTTP proxy cannot have a colon")
        try:
            destination = Destination.parse(authority)
        except EgressDenied as error:
            raise ValueError(f"the URL's address is wrong: {error}") from None
        return cls(
            kind=UpstreamKind(scheme),
            destination=destination,
            username=username,
            password=password,
            resolution=resolution,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one browser's connections leave the node: direct without upstreams, else by one of them.

    The upstreams of a location stand for each other; a caller's own is judged as a page's destination is.
    """

    location: str = ""
    upstreams: tuple[Upstream, ...] = ()
    custom: bool = False

    @property
    def direct(self) -> bool:
        return not self.upstreams


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLocations:
    """The operator's proxies by location, and the location of sessions that ask for none."""

    upstreams: Mapping[str, tuple[Upstream, ...]] = field(default_factory=dict)
    default: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the operator's TOML. Raises ValueError that names every fault by its place, without secrets."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            # The decoder's message may repeat a piece of the text.
            raise ValueError("is not TOML") from None
        faults = [f"{key}: unknown key" for key in document if key not in {"default", "locations"}]
        tables = document.get("locations", {})
        locations: dict[str, tuple[Upstream, ...]] = {}
        if not isinstance(tables, dict):
            faults.append("locations: must hold [[locations.NAME]] tables")
            tables = {}
        for name, entries in tables.items():
            read = [_read_entry(f"locations.{name}[{n}]", e, faults) for n, e in enumerate(_listed(entries))]
            locations[name] = tuple(upstream for upstream in read if upstream is not None)
            if not read:
                faults.append(f"locations.{name}: has no proxy")
        if DIRECT in locations:
            faults.append(f"locations.{DIRECT}: this name means a direct connection")
        default = document.get("default", "")
        if not isinstance(default, str) or default not in {"", DIRECT, *locations}:
            faults.append("default: is not one of the locations")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(upstreams=locations, default=default)

    def route_for(self, options: BrowserOptions) -> Route:
        """Return the route that a session asks for.

        Raises OptionUnavailable for a location that is not configured, InvalidArgument for a proxy of the caller's
        own that is written wrong, or one beside a location.
        """
        if options.proxy is not None:
            if options.proxy_location:
                raise InvalidArgument(
                    "A session has a proxy location or a proxy of its own.",
                    fields={"proxy_location": "must be empty beside proxy"},
                )
            return Route(upstreams=(_custom(options.proxy),), custom=True)
        name = options.proxy_location or self.default
        if name in {"", DIRECT}:
            return Route()
        if name not in self.upstreams:
            raise OptionUnavailable("This proxy location is not configured.", option="proxy_location", value=name)
        return Route(location=name, upstreams=self.upstreams[name])


def receipt_of(options: BrowserOptions, route: Route, *, upstream: Upstream | None, verified: bool) -> Receipt:
    """Say by which way a browser's connections leave; `upstream` is the one in use, `verified` that it answered."""
    asked = options.proxy_location
    if upstream is None:
        return Receipt(
            option="proxy_location",
            requested=asked,
            reported="direct",
            state=ReceiptState.APPLIED,
            message="" if asked else "No proxy location was asked for and there is no default.",
        )
    state = ReceiptState.APPLIED if verified else ReceiptState.UNVERIFIED
    kind = f"{upstream.kind} proxy"
    if route.custom:
        return Receipt(option="proxy", requested=kind, reported=kind, state=state)
    return Receipt(
        option="proxy_location",
        requested=asked,
        reported=f"{route.location} by {kind}",
        state=state,
        message="" if asked else "The operator's default location.",
    )


def _custom(proxy: CustomProxy) -> Upstream:
    try:
        return Upstream.parse(proxy.url, username=proxy.username, password=proxy.password)
    except ValueError as error:
        raise InvalidArgument("The proxy is not valid.", fields={"proxy": str(error)}) from None


def _listed(entries: object) -> Iterable[object]:
    return entries if isinstance(entries, list) else [entries]


def _read_entry(place: str, entry: object, faults: list[str]) -> Upstream | None:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        faults.append(f"{place}: must be a table of texts")
        return None
    unknown = entry.keys() - {"url", "username", "password", "dns"}
    if unknown or "url" not in entry:
        faults.append(f"{place}: must have url, and may have username, password and dns")
        return None
    try:
        return Upstream.parse(
            entry["url"],
            username=entry.get("username", ""),
            password=entry.get("password", ""),
            resolution=_resolution(entry.get("dns", Resolution.AUTO)),
        )
    except ValueError as error:
        faults.append(f"{place}: {error}")
        return None


def _resolution(text: str) -> Resolution:
    if text not in Resolution.__members__.values():
        raise ValueError("dns must be auto, node or upstream")
    return Resolution(text)
