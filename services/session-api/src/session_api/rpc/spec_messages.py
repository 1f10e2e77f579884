"""What a caller asks of a browser: from the message to the values, secrets apart."""

from browserfleet.browser.v1 import browser_pb2
from session_api.domain.browser import BrowserSpec, CustomProxy, Geolocation, SpecSecrets, Viewport
from session_api.rpc.values import browser_tier, browser_type


def spec_of(message: browser_pb2.BrowserSpec) -> BrowserSpec:
    """Return what is asked; raises InvalidArgument for what this version does not know."""
    if not message.ByteSize():
        return BrowserSpec()
    return BrowserSpec(
        browser_type=browser_type(message.browser_type),
        tier=browser_tier(message.tier),
        viewport=_viewport(message.viewport) if message.HasField("viewport") else None,
        user_agent=message.user_agent,
        locale=message.locale,
        timezone=message.timezone,
        geolocation=_geolocation(message.geolocation) if message.HasField("geolocation") else None,
        start_url=message.start_url,
        headers=tuple(sorted(message.headers)),
        permissions=tuple(message.permissions),
        proxy_location=message.proxy_location,
        proxy=_proxy(message.proxy) if message.HasField("proxy") else None,
        extensions=tuple(message.extensions),
    )


def secrets_of(message: browser_pb2.BrowserSpec) -> SpecSecrets:
    return SpecSecrets(headers=dict(message.headers), proxy_password=message.proxy.password)


def _viewport(message: browser_pb2.Viewport) -> Viewport:
    return Viewport(width=message.width, height=message.height)


def _geolocation(message: browser_pb2.Geolocation) -> Geolocation:
    return Geolocation(latitude=message.latitude, longitude=message.longitude, accuracy_meters=message.accuracy_meters)


def _proxy(message: browser_pb2.CustomProxy) -> CustomProxy:
    return CustomProxy(url=message.url, username=message.username)
