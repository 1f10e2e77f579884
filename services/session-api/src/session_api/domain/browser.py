"""What a session asks of its browser, and what its node found out about it."""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum


class BrowserType(StrEnum):
    """A kind of browser."""

    CHROME = "CHROME"
    MSEDGE = "MSEDGE"


class BrowserTier(StrEnum):
    """How much of a browser a session gets."""

    FULL = "FULL"
    LEAN = "LEAN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """Size of a page in CSS pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Geolocation:
    """Where pages are told that the browser is: degrees north, degrees east, radius in metres."""

    latitude: float
    longitude: float
    accuracy_meters: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomProxy:
    """A proxy of the caller's own, without its password."""

    url: str
    username: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What of a spec not every node can serve."""

    browser_type: BrowserType = BrowserType.CHROME
    tier: BrowserTier = BrowserTier.FULL
    proxy_location: str = ""
    extensions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSpec:
    """What a session asks of its browser; empty or None: the default. It holds no secret: see SpecSecrets."""

    browser_type: BrowserType = BrowserType.CHROME
    tier: BrowserTier = BrowserTier.FULL
    viewport: Viewport | None = None
    user_agent: str = ""
    locale: str = ""
    timezone: str = ""
    geolocation: Geolocation | None = None
    start_url: str = ""
    # Names of the headers, in order.
    headers: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    proxy_location: str = ""
    proxy: CustomProxy | None = None
    extensions: tuple[str, ...] = ()

    @property
    def need(self) -> Need:
        """What not every node can serve."""
        return Need(
            browser_type=self.browser_type,
            tier=self.tier,
            proxy_location=self.proxy_location,
            extensions=frozenset(self.extensions),
        )

    @property
    def wishes(self) -> dict[str, object]:
        """What is asked beyond the kind of browser, as plain values by field; empty when nothing is."""
        return {name: _plain(value) for name, default in _DEFAULTS.items() if (value := getattr(self, name)) != default}


_DEFAULTS = {option.name: option.default for option in fields(BrowserSpec) if option.name != "browser_type"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSecrets:
    """What of a request for a browser only its node may read: values of headers by name, the proxy's password."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    proxy_password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.headers or self.proxy_password)


class ReceiptState(StrEnum):
    """How what the browser reports compares to what was asked."""

    UNSPECIFIED = "UNSPECIFIED"
    APPLIED = "APPLIED"
    DIFFERENT = "DIFFERENT"
    UNVERIFIED = "UNVERIFIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one option, by the name of its field."""

    option: str
    requested: str
    reported: str
    state: ReceiptState
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What a node verified about a browser that it started. `start_message` says why it was warm or cold."""

    product: str
    user_agent: str
    warm: bool
    sandboxed: bool
    start_message: str = ""
    receipts: tuple[Receipt, ...] = ()


def _plain(value: object) -> object:
    return asdict(value) if isinstance(value, Viewport | Geolocation | CustomProxy) else value
