"""What a session asks of its browser, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypedDict

from browserfleet.browser.v1 import browser_pb2
from browserfleet.client.errors import InvalidRequest
from browserfleet.client.states import ReceiptState


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of one's own: `http://host:port`, `https://…` or `socks5://…`, its credentials apart."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)


class BrowserOptions(TypedDict, total=False):
    """What a session may ask of its browser; what is left out is the fleet's default.

    `tier`: "full" or "lean" (no extensions, half the memory). `viewport`: width and height. `geolocation`: degrees north
    and degrees east, and perhaps the accuracy in metres; pages learn of it with the permission "geolocation".
    `start_url`: the page that is opened first. `headers` go with every request of every page. `permissions`: by the
    names of the DevTools protocol. `proxy_location`: one of the operator's, or else a `proxy`. `extensions`: by name.
    """

    tier: str
    viewport: tuple[int, int]
    user_agent: str
    locale: str
    timezone: str
    geolocation: tuple[float, float] | tuple[float, float, float]
    start_url: str
    headers: Mapping[str, str]
    permissions: Sequence[str]
    proxy_location: str
    proxy: Proxy
    extensions: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one option: what was asked, and what the browser itself reports."""

    option: str
    requested: str
    reported: str
    state: ReceiptState
    message: str

    @classmethod
    def of(cls, message: browser_pb2.Receipt) -> Self:
        state = ReceiptState.of(message.state, browser_pb2.Receipt.State.items(), prefix="STATE_")
        return cls(
            option=message.option,
            requested=message.requested,
            reported=message.reported,
            state=state,
            message=message.message,
        )


def spec_message(browser: str, options: BrowserOptions) -> browser_pb2.BrowserSpec:
    """Return what is asked as the fleet takes it.

    Raises InvalidRequest for a browser or tier that does not exist, TypeError for an option that does not.
    """
    unknown = options.keys() - BrowserOptions.__annotations__
    if unknown:
        raise TypeError(f"a session has no option {', '.join(sorted(unknown))}")
    spec = browser_pb2.BrowserSpec(
        browser_type=_browser_type(browser),
        user_agent=options.get("user_agent", ""),
        locale=options.get("locale", ""),
        timezone=options.get("timezone", ""),
        start_url=options.get("start_url", ""),
        headers=options.get("headers"),
        permissions=options.get("permissions"),
        proxy_location=options.get("proxy_location", ""),
        extensions=options.get("extensions"),
    )
    if "tier" in options:
        spec.tier = _tier(options["tier"])
    if "viewport" in options:
        spec.viewport.width, spec.viewport.height = options["viewport"]
    if "geolocation" in options:
        latitude, longitude, *accuracy = options["geolocation"]
        spec.geolocation.latitude, spec.geolocation.longitude = latitude, longitude
        spec.geolocation.accuracy_meters = accuracy[0] if accuracy else 0.0
    if "proxy" in options:
        proxy = options["proxy"]
        spec.proxy.url, spec.proxy.username, spec.proxy.password = proxy.url, proxy.username, proxy.password
    return spec


def _browser_type(name: str) -> "browser_pb2.BrowserType.ValueType":
    try:
        return browser_pb2.BrowserType.Value(f"BROWSER_TYPE_{name.upper()}")
    except ValueError:
        raise _unknown("browser_type", f"there is no browser {name!r}: chrome or msedge") from None


def _tier(name: str) -> "browser_pb2.BrowserTier.ValueType":
    try:
        return browser_pb2.BrowserTier.Value(f"BROWSER_TIER_{name.upper()}")
    except ValueError:
        raise _unknown("tier", f"there is no tier {name!r}: full or lean") from None


def _unknown(field_name: str, fault: str) -> InvalidRequest:
    error = InvalidRequest(fault, reason="INVALID_REQUEST")
    error.fields = {f"spec.{field_name}": fault}
    return error
