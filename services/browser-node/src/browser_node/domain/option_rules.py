"""What the values of a session's options may be, before a browser is spent on them."""

import ipaddress
import re
from urllib.parse import urlsplit

from browser_node.domain.errors import InvalidOption
from browser_node.domain.options import BrowserOptions, Geolocation, Viewport

BLANK_PAGE = "about:blank"

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_URL_BYTES = 2048
_USER_AGENT = re.compile(r"[ -~]{0,512}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t -~]{0,4096}")
# A header that the browser alone may write: with a value of somebody else's, requests are malformed or are sent to
# somebody else.
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_OWN_HEADER_PREFIXES = ("proxy-", "sec-")
_WIDTHS, _HEIGHTS = (100, 7680), (100, 4320)
# Hosts that are a number to a browser and a name to a careless reader: 0x7f.1, 2130706433, 017700000001.
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)

# `Browser.PermissionType` of the DevTools protocol, and the name under which a page may ask for it; None where it
# has no way to.
PERMISSIONS: dict[str, str | None] = {
    "ar": None,
    "audioCapture": "microphone",
    "automaticFullscreen": None,
    "backgroundFetch": "background-fetch",
    "backgroundSync": "background-sync",
    "cameraPanTiltZoom": None,
    "capturedSurfaceControl": "captured-surface-control",
    "clipboardReadWrite": "clipboard-read",
    "clipboardSanitizedWrite": "clipboard-write",
    "displayCapture": "display-capture",
    "durableStorage": "persistent-storage",
    "geolocation": "geolocation",
    "handTracking": None,
    "idleDetection": "idle-detection",
    "keyboardLock": "keyboard-lock",
    "localFonts": "local-fonts",
    "localNetwork": None,
    "localNetworkAccess": None,
    "loopbackNetwork": None,
    "midi": "midi",
    "midiSysex": None,
    "nfc": None,
    "notifications": "notifications",
    "paymentHandler": "payment-handler",
    "periodicBackgroundSync": "periodic-background-sync",
    "pointerLock": "pointer-lock",
    "protectedMediaIdentifier": None,
    "sensors": "accelerometer",
    "smartCard": None,
    "speakerSelection": None,
    "storageAccess": "storage-access",
    "topLevelStorageAccess": None,
    "videoCapture": "camera",
    "vr": None,
    "wakeLockScreen": "screen-wake-lock",
    "wakeLockSystem": None,
    "webAppInstallation": None,
    "windowManagement": "window-management",
}


def check_options(options: BrowserOptions) -> None:
    """Raise InvalidOption naming the first option that no browser could take."""
    if options.viewport is not None:
        _check_viewport(options.viewport)
    if not _USER_AGENT.fullmatch(options.user_agent):
        raise InvalidOption("user_agent", "must be at most 512 printable ASCII characters")
    if options.geolocation is not None:
        _check_geolocation(options.geolocation)
    if options.start_url:
        check_start_url(options.start_url)
    for name, value in options.headers.items():
        _check_header(name, value)
    for permission in options.permissions:
        if permission not in PERMISSIONS:
            raise InvalidOption("permissions", "names a permission that browsers do not know")


def check_start_url(url: str) -> None:
    """Raise InvalidOption unless it is a blank page or an ordinary web address.

    Addresses that look like something else than they are, or lead to a machine's own services in every network, are
    refused here; which of the others can be reached is the egress policy's business.
    """
    if url == BLANK_PAGE:
        return
    if len(url.encode()) > _URL_BYTES:
        raise InvalidOption("start_url", f"must be at most {_URL_BYTES} bytes")
    if _CONTROLS.search(url) or "\\" in url or url != url.strip():
        raise InvalidOption("start_url", "must not hold controls, backslashes or blanks around it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidOption("start_url", "is no URL") from error
    if parts.scheme not in ("http", "https") or not url.lower().startswith(f"{parts.scheme}://"):
        raise InvalidOption("start_url", "must begin with http:// or https://, or be about:blank")
    if "@" in parts.netloc:
        raise InvalidOption("start_url", "must not hold a user name or password")
    if port == 0:
        raise InvalidOption("start_url", "has a port that does not exist")
    _check_host(host, bracketed=parts.netloc.startswith("["))


def _check_host(host: str, *, bracketed: bool) -> None:
    if bracketed:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise InvalidOption("start_url", "has no IPv6 address in its brackets") from error
        if address.ipv4_mapped is not None:
            raise InvalidOption("start_url", "must name an IPv4 address as such")
        _check_address(address)
        return
    if not _HOST_NAME.fullmatch(host):
        raise InvalidOption(
            "start_url", "must have a host of ASCII letters, digits and dashes, without a dot at its end"
        )
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        try:
            _check_address(ipaddress.IPv4Address(host))
        except ipaddress.AddressValueError as error:
            raise InvalidOption("start_url", "must name an IPv4 address by four decimal numbers") from error
    elif host.lower() == "internal" or host.lower().endswith(".internal"):
        raise InvalidOption("start_url", "leads to a service of the network that the node is in")


def _check_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise InvalidOption("start_url", "leads to an address that no web site has")


def _check_viewport(viewport: Viewport) -> None:
    for name, value, (least, most) in (("width", viewport.width, _WIDTHS), ("height", viewport.height, _HEIGHTS)):
        if not least <= value <= most:
            raise InvalidOption("viewport", f"{name} must be between {least} and {most}")


def _check_geolocation(place: Geolocation) -> None:
    # Written so that what is no number fails too.
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180 and 0 <= place.accuracy_meters <= 1e6):
        raise InvalidOption("geolocation", "is no place on earth")


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidOption("headers", "has a name that is no header name")
    if not _HEADER_VALUE.fullmatch(value):
        raise InvalidOption("headers", "has a value that is not printable ASCII of at most 4096 characters")
    if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_HEADER_PREFIXES):
        raise InvalidOption("headers", "has a name that only the browser may use")
