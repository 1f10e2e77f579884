"""What a session asks of its browser beyond its kind, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class BrowserTier(StrEnum):
    """How much of a browser a session gets."""

    FULL = "full"
    LEAN = "lean"


@dataclass(frozen=True, slots=True)
class Viewport:
    """Size of a page in CSS pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Geolocation:
    """Where pages are told that the browser is: degrees north, degrees east, radius in metres."""

    latitude: float
    longitude: float
    accuracy_meters: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomProxy:
    """A proxy of the caller's own; `url` is `http|https|socks5://host:port`."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserOptions:
    """What a session asks for; empty or None: the default."""

    tier: BrowserTier = BrowserTier.FULL
    viewport: Viewport | None = None
    user_agent: str = ""
    locale: str = ""
    timezone: str = ""
    geolocation: Geolocation | None = None
    start_url: str = ""
    # Values may be secrets.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    permissions: tuple[str, ...] = ()
    proxy_location: str = ""
    proxy: CustomProxy | None = None
    extensions: tuple[str, ...] = ()


class ReceiptState(StrEnum):
    """How what the browser reports compares to what was asked."""

    APPLIED = "APPLIED"
    DIFFERENT = "DIFFERENT"
    UNVERIFIED = "UNVERIFIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one option, named as in the contract. Holds no secrets."""

    option: str
    requested: str
    reported: str
    state: ReceiptState
    message: str = ""
