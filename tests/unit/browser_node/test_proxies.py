"""Which way a session's connections leave, and what may be said of it."""

import pytest

from browser_node.domain.errors import OptionUnavailable
from browser_node.domain.options import BrowserOptions, CustomProxy, ReceiptState
from browser_node.domain.proxies import ProxyLocations, Resolution, Route, Upstream, UpstreamKind, receipt_of
from fleetkit.errors import InvalidArgument

_CONFIGURED = """
default = "US"

[[locations.US]]
url = "http://us-1.proxies.example:3128"
username = "canary-user"
password = "canary-password"

[[locations.US]]
url = "socks5://us-2.proxies.example:1080"
dns = "node"

[[locations.DE]]
url = "https://[2606:4700::1]:443"
"""


def test_locations_are_read() -> None:
    locations = ProxyLocations.parse(_CONFIGURED)

    assert locations.default == "US"
    first, second = locations.upstreams["US"]
    assert (first.kind, first.destination.authority) == (UpstreamKind.HTTP, "us-1.proxies.example:3128")
    assert (first.username, first.password) == ("canary-user", "canary-password")
    assert second.resolution is Resolution.NODE
    assert locations.upstreams["DE"][0].destination.authority == "[2606:4700::1]:443"


def test_secrets_and_addresses_of_proxies_are_not_printed() -> None:
    text = repr(ProxyLocations.parse(_CONFIGURED))

    assert "canary" not in text
    assert "proxies.example" not in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("not toml canary", "is not TOML"),
        ('default = "FR"', "default"),
        ("default = 3", "default"),
        ('other = "x"', "other: unknown key"),
        ("locations = 3", "locations"),
        ("[locations]\nUS = []", "locations.US: has no proxy"),
        ('[[locations.US]]\nurl = "ftp://canary:1"', r"locations.US\[0\]: the URL must begin"),
        ('[[locations.US]]\nurl = "http://canary"', r"locations.US\[0\]: the URL's address"),
        ('[[locations.US]]\nurl = "http://u:canary@h:1"', r"locations.US\[0\]: .*own fields"),
        ('[[locations.US]]\nurl = "http://h:1"\nkey = "canary"', r"locations.US\[0\]: must have url"),
        ('[[locations.US]]\nurl = "http://h:1"\ndns = "canary"', r"locations.US\[0\]: dns must be"),
        ('[[locations.US]]\nusername = "canary"', r"locations.US\[0\]: must have url"),
        ('[[locations.NONE]]\nurl = "http://h:1"', "locations.NONE"),
        ('[[locations.US]]\nurl = "socks5://h:1"\nusername = "canary"', r"locations.US\[0\]: .*password"),
    ],
)
def test_faults_of_the_configuration_are_named_without_its_secrets(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        ProxyLocations.parse(text)

    assert "canary" not in str(caught.value)


def test_a_session_that_asks_for_nothing_goes_out_directly() -> None:
    options = BrowserOptions()
    route = ProxyLocations().route_for(options)

    assert route.direct
    receipt = receipt_of(options, route, upstream=None, verified=False)
    assert (receipt.option, receipt.requested, receipt.reported) == ("proxy_location", "", "direct")
    assert receipt.state is ReceiptState.APPLIED
    assert "no default" in receipt.message


def test_the_default_location_is_taken_and_can_be_declined() -> None:
    locations = ProxyLocations.parse(_CONFIGURED)

    assert locations.route_for(BrowserOptions()).location == "US"
    assert locations.route_for(BrowserOptions(proxy_location="NONE")).direct
    assert locations.route_for(BrowserOptions(proxy_location="DE")).location == "DE"


def test_a_location_that_is_not_configured_is_refused() -> None:
    with pytest.raises(OptionUnavailable) as caught:
        ProxyLocations.parse(_CONFIGURED).route_for(BrowserOptions(proxy_location="us"))

    assert caught.value.reason == "OPTION_UNAVAILABLE"
    assert caught.value.metadata == {"option": "proxy_location", "value": "us"}


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("file:///etc/passwd", "", ""),
        ("socks4://h:1", "", ""),
        ("pac+http://h:1", "", ""),
        ("HTTP://h:1", "", ""),
        ("http://user:canary@h:1", "", ""),
        ("http://h", "", ""),
        ("http://h:0", "", ""),
        ("http://h:65536", "", ""),
        ("http://h:1/path", "", ""),
        ("http://h:1?x", "", ""),
        ("http://h\\x:1", "", ""),
        ("http://h:1\r\nX: y", "", ""),
        ("http://h:1", "u\r\nX: canary", "p"),
        ("http://h:1", "u", "p\0canary"),
        ("http://h:1", "u:v", "p"),
        ("http://h:1", "u" * 256, "p"),
        ("socks5://h:1", "ü", "p"),
        ("socks5://h:1", "u", ""),
        ("http://h:1", "", "canary"),
        ("h:1", "", ""),
        ("*", "", ""),
    ],
)
def test_a_custom_proxy_that_is_written_wrong_is_refused(url: str, username: str, password: str) -> None:
    options = BrowserOptions(proxy=CustomProxy(url=url, username=username, password=password))

    with pytest.raises(InvalidArgument) as caught:
        ProxyLocations().route_for(options)

    assert set(caught.value.fields) == {"proxy"}
    assert "canary" not in f"{caught.value} {caught.value.fields}"


def test_a_custom_proxy_stands_in_place_of_a_location() -> None:
    proxy = CustomProxy(url="socks5://mine.example:1080", username="canary-user", password="canary-password")
    locations = ProxyLocations.parse(_CONFIGURED)
    options = BrowserOptions(proxy=proxy)
    route = locations.route_for(options)

    assert route.custom
    receipt = receipt_of(options, route, upstream=route.upstreams[0], verified=True)
    assert (receipt.option, receipt.reported, receipt.state) == ("proxy", "socks5 proxy", ReceiptState.APPLIED)
    assert "canary" not in repr(receipt)
    assert "mine.example" not in repr(receipt)
    with pytest.raises(InvalidArgument):
        locations.route_for(BrowserOptions(proxy=proxy, proxy_location="US"))


def test_the_receipt_of_a_location_names_it_and_the_kind_of_proxy_alone() -> None:
    options = BrowserOptions(proxy_location="US")
    upstream = Upstream.parse("http://us-1.example:3128", username="canary", password="canary")
    route = Route(location="US", upstreams=(upstream,))

    verified = receipt_of(options, route, upstream=upstream, verified=True)
    unverified = receipt_of(options, route, upstream=upstream, verified=False)

    assert (verified.requested, verified.reported) == ("US", "US by http proxy")
    assert (verified.state, unverified.state) == (ReceiptState.APPLIED, ReceiptState.UNVERIFIED)
    assert "canary" not in repr(verified)
