"""What a session asks of its browser against the bad-input matrix: exact codes and reasons."""

import math

import pytest

from browserfleet.browser.v1 import browser_pb2
from fleetkit.errors import InvalidArgument
from fleetkit.rpc.status import from_rpc_error
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import a_creation, metadata_of
from tests.unit.session_api.refusals import INVALID, Attempt, Refusal, refusal_of, see_refused

_OPTION: Refusal = ("FAILED_PRECONDITION", "OPTION_UNAVAILABLE")
_PROXY = {"url": "http://proxy.example:3128"}


def _asking(**spec: object) -> Attempt:
    return lambda e: e.create(a_creation(spec=spec))


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 8, 9: tiers
    "an unknown tier is refused": (_asking(tier=99), INVALID),
    "a tier that no node has is refused": (
        _asking(tier=browser_pb2.BROWSER_TIER_LEAN),
        ("FAILED_PRECONDITION", "NO_CAPABLE_NODE"),
    ),
    "a lean Edge is refused": (
        _asking(tier=browser_pb2.BROWSER_TIER_LEAN, browser_type=browser_pb2.BROWSER_TYPE_MSEDGE),
        _OPTION,
    ),
    "extensions in the lean tier are refused": (
        _asking(tier=browser_pb2.BROWSER_TIER_LEAN, extensions=["ad-blocker"]),
        _OPTION,
    ),
    # 10: viewports
    "a viewport of 0 by 0 is refused": (_asking(viewport={}), INVALID),
    "a viewport of a million by a million is refused": (_asking(viewport={"width": 10**6, "height": 10**6}), INVALID),
    "a viewport of minus 1 is refused": (_asking(viewport={"width": -1, "height": 720}), INVALID),
    "a viewport without a height is refused": (_asking(viewport={"width": 1280}), INVALID),
    # 11: texts that go into headers and scripts
    "a user agent with a line feed is refused": (_asking(user_agent="a\r\nx: y"), INVALID),
    "a user agent with a NUL is refused": (_asking(user_agent="a\0"), INVALID),
    "a user agent of 10 kB is refused": (_asking(user_agent="a" * 10_000), INVALID),
    "a locale with a line feed is refused": (_asking(locale="de-DE\n"), INVALID),
    "a locale that is none is refused": (_asking(locale="germany"), INVALID),
    "a locale with a region of four letters is refused": (_asking(locale="de-DE-DEUT"), INVALID),
    "a locale of 10 kB is refused": (_asking(locale="de" + "-abcde" * 2000), INVALID),
    "a time zone that is none is refused": (_asking(timezone="Europe/Atlantis"), INVALID),
    "a time zone that is a path is refused": (_asking(timezone="../../etc/passwd"), INVALID),
    "a time zone with a NUL is refused": (_asking(timezone="UTC\0"), INVALID),
    # Geolocation
    "a latitude of 91 is refused": (_asking(geolocation={"latitude": 91.0}), INVALID),
    "a longitude that is no number is refused": (_asking(geolocation={"longitude": math.nan}), INVALID),
    "an infinite accuracy is refused": (_asking(geolocation={"accuracy_meters": math.inf}), INVALID),
    "an accuracy below 0 is refused": (_asking(geolocation={"accuracy_meters": -1.0}), INVALID),
    # 13, 14: start URLs
    "a file is no start URL": (_asking(start_url="file:///etc/passwd"), INVALID),
    "a data URL of 5 MB is no start URL": (_asking(start_url="data:text/html," + "x" * 2**21), INVALID),
    "a metadata address is no start URL": (_asking(start_url="http://169.254.169.254/"), INVALID),
    "the fleet's own machine is no start URL": (_asking(start_url="http://localhost.:80/"), INVALID),
    # Headers
    "33 headers are refused": (_asking(headers={f"x-{number}": "" for number in range(33)}), INVALID),
    "a header without a name is refused": (_asking(headers={"": "v"}), INVALID),
    "a header name with a colon is refused": (_asking(headers={"a:b": "v"}), INVALID),
    "a header value with a line feed is refused": (_asking(headers={"a": "v\r\nb: c"}), INVALID),
    "a header value of 5 kB is refused": (_asking(headers={"a": "v" * 5000}), INVALID),
    "the header Host is refused": (_asking(headers={"hOSt": "evil.test"}), INVALID),
    "the header Cookie is refused": (_asking(headers={"cookie": "a=b"}), INVALID),
    "the header Proxy-Authorization is refused": (_asking(headers={"Proxy-Authorization": "Basic x"}), INVALID),
    "a header in two cases is refused": (_asking(headers={"X-A": "1", "x-a": "2"}), INVALID),
    # Permissions
    "a permission with a blank is refused": (_asking(permissions=["geo location"]), INVALID),
    "a permission twice is refused": (_asking(permissions=["geolocation", "geolocation"]), INVALID),
    # 54, 55: proxies
    "a proxy of another scheme is refused": (_asking(proxy={"url": "file:///etc/passwd"}), INVALID),
    "a proxy URL with a password is refused": (_asking(proxy={"url": "http://u:p@proxy.example:3128"}), INVALID),
    "a proxy at port 0 is refused": (_asking(proxy={"url": "http://proxy.example:0"}), INVALID),
    "a proxy without a port is refused": (_asking(proxy={"url": "http://proxy.example"}), INVALID),
    "a proxy at a metadata name is refused": (_asking(proxy={"url": "socks5://metadata:80"}), INVALID),
    "a PAC script is refused": (_asking(proxy={"url": "pac+http://proxy.example:80"}), INVALID),
    "a proxy user name with a line feed is refused": (_asking(proxy=_PROXY | {"username": "a\r\nb"}), INVALID),
    "a proxy password with a line feed is refused": (_asking(proxy=_PROXY | {"password": "a\r\nb"}), INVALID),
    "a proxy without a URL is refused": (_asking(proxy={"username": "a"}), INVALID),
    "a proxy beside a location is refused": (_asking(proxy=_PROXY, proxy_location="US"), INVALID),
    "a location that no node has is refused": (_asking(proxy_location="US"), _OPTION),
    "a location with a slash is refused": (_asking(proxy_location="US/x"), INVALID),
    # Extensions
    "an extension that no node has is refused": (_asking(extensions=["captcha-solver"]), _OPTION),
    "a path is no extension": (_asking(extensions=["../x"]), INVALID),
    "17 extensions are refused": (_asking(extensions=[f"x{number}" for number in range(17)]), INVALID),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_spec(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)


async def test_every_option_that_is_wrong_is_named_at_once(entry: Entry) -> None:
    spec = {
        "timezone": "Nowhere",
        "start_url": "http://10.0.0.1/",
        "headers": {"Host": "x"},
        "proxy": _PROXY,
        "proxy_location": "US",
    }
    error = from_rpc_error(await refusal_of(entry.create(a_creation(spec=spec))))
    assert isinstance(error, InvalidArgument)
    assert set(error.fields) == {"spec.timezone", "spec.start_url", "spec.headers", "spec.proxy"}


@pytest.mark.parametrize(
    ("spec", "option", "value"),
    [
        ({"proxy_location": "US"}, "proxy_location", "US"),
        ({"extensions": ["ad-blocker"]}, "extensions", "ad-blocker"),
        (
            {"tier": browser_pb2.BROWSER_TIER_LEAN, "browser_type": browser_pb2.BROWSER_TYPE_MSEDGE},
            "tier",
            "LEAN",
        ),
    ],
)
async def test_an_option_that_is_not_to_be_had_is_named(
    entry: Entry, spec: dict[str, object], option: str, value: str
) -> None:
    assert metadata_of(await refusal_of(entry.create(a_creation(spec=spec)))) == {"option": option, "value": value}


@pytest.mark.parametrize(
    "spec",
    [
        {"locale": "zh-Hant-TW", "timezone": "America/Argentina/Buenos_Aires"},
        {"locale": "de", "timezone": "UTC", "viewport": {"width": 100, "height": 4320}},
        {"user_agent": "a" * 512, "start_url": "https://example.com/?q=\u00e4"},
        {"geolocation": {"latitude": -90.0, "longitude": 180.0}, "permissions": ["geolocation"]},
        {"headers": {"Authorization": "Bearer x", "x-tab": "a\tb"}, "proxy": _PROXY},
    ],
)
async def test_what_is_in_order_is_taken_as_it_is(entry: Entry, spec: dict[str, object]) -> None:
    request = a_creation(spec=spec)
    session = await entry.create(request)
    for name in list(request.spec.headers):
        request.spec.headers[name] = ""
    request.spec.browser_type = browser_pb2.BROWSER_TYPE_CHROME
    assert session.open
    assert session.spec == request.spec
