"""Reading a host as browsers read it: one form for each of the many ways to write the same one."""

import re
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_PARTS = 4


def read_host(text: str) -> str | Address:
    """Return a name in lower-case ASCII without a final dot, or the address that the text means.

    `0x7f.1`, `2130706433`, `0177.0.0.1`, full-width digits and `[::ffff:7f00:1]` are addresses. Raises ValueError,
    with words that do not repeat the text.
    """
    if text.startswith("["):
        return _read_bracketed(text)
    host = _ascii(text)
    host = host.removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _read_ipv4(host)
    if not _NAME.fullmatch(host) or any(len(label) > 63 for label in host.split(".")):
        raise ValueError("it has characters or lengths that names do not have")
    return host


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        # Normalizes full-width digits and dots as well.
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError("it cannot be written in ASCII") from None


def _read_bracketed(text: str) -> IPv6Address:
    if not text.endswith("]") or "%" in text:
        raise ValueError("it is not an IPv6 address")
    try:
        return IPv6Address(text[1:-1])
    except ValueError:
        raise ValueError("it is not an IPv6 address") from None


def _read_ipv4(host: str) -> IPv4Address:
    """Read one to four numbers, decimal, octal or hexadecimal; the last one fills the bytes that remain."""
    parts = host.split(".")
    if len(parts) > _PARTS or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ValueError("it ends like an address and is none")
    *leading, last = [_read_number(part) for part in parts]
    if any(number > 255 for number in leading) or last >= 256 ** (_PARTS - len(leading)):
        raise ValueError("it is an address with a number out of range")
    value = last
    for place, number in enumerate(leading):
        value += number << (8 * (3 - place))
    return IPv4Address(value)


def _read_number(text: str) -> int:
    if len(text) > 32:
        raise ValueError("it is an address with a number out of range")
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    try:
        return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)
    except ValueError:
        raise ValueError("it is an address with a number that is not octal") from None
