"""URLs that callers give: which of them a browser of the fleet may be sent to.

This refuses early what can be seen from the text alone. Where names lead is judged by the node's egress layer, after
they are resolved; the two do not depend on each other.
"""

import ipaddress
import re

_WEB = re.compile(r"(?i:https?)://([^/?#]*)")
_PROXY = re.compile(r"(?:http|https|socks5)://([^/?#]*)")
# A name as DNS has it; names of another script come in their `xn--` form.
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LONGEST_NAME = 253
# What browsers take for a number; a host that ends in one is an IPv4 address to them, in whatever notation.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LEADS_INSIDE = "must not lead into a private network"
_UNCOMMON = "must write an IP address in its common form"
_PRIVATE_ZONES = (".localhost", ".local", ".internal", ".home.arpa")
# Networks whose addresses hold an IPv4 address that a gateway may deliver to.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def start_url_fault(url: str, *, allow_private: bool) -> str:
    """Return what is wrong with a page to open first; empty when nothing is."""
    if url in {"", "about:blank"}:
        return ""
    if any(character.isspace() or not character.isprintable() for character in url):
        return "must not have blanks or control characters"
    match = _WEB.match(url)
    if match is None:
        return "must be an http or https URL, or about:blank"
    return _authority_fault(match[1], allow_private=allow_private)


def proxy_url_fault(url: str, *, allow_private: bool) -> str:
    """Return what is wrong with the URL of a proxy; empty when nothing is."""
    match = _PROXY.fullmatch(url)
    if match is None:
        return "must be http://host:port, https://host:port or socks5://host:port"
    if not re.search(r":[0-9]+$", match[1]):
        return "must name a port"
    return _authority_fault(match[1], allow_private=allow_private)


def _authority_fault(authority: str, *, allow_private: bool) -> str:
    if "@" in authority:
        return "must not hold a user name or a password"
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority)
    if match is None or not match[1]:
        return "must have a host, and after a colon nothing but a port"
    if match[2] is not None and not 1 <= int(match[2]) <= 65535:
        return "must have a port from 1 to 65535"
    host = match[1].lower()
    return _literal_fault(host, allow_private) if host.startswith("[") else _host_fault(host, allow_private)


def _host_fault(host: str, allow_private: bool) -> str:
    name = host.removesuffix(".")
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        return "must have a host name of letters, digits, hyphens and dots, other scripts as xn--…"
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _literal_fault(name, allow_private)
    is_private = "." not in name or name.endswith(_PRIVATE_ZONES)
    return _LEADS_INSIDE if is_private and not allow_private else ""


def _literal_fault(host: str, allow_private: bool) -> str:
    try:
        # Strict: four decimal numbers without leading zeros, or IPv6.
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return _UNCOMMON
    if host.startswith("[") != isinstance(address, ipaddress.IPv6Address):
        return _UNCOMMON
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return _UNCOMMON
        # The same address by another name is not a way around anything.
        within = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if within is not None or any(address in network for network in _TRANSLATED):
            return _UNCOMMON
    is_public = address.is_global and not address.is_multicast
    return "" if is_public or allow_private else _LEADS_INSIDE
