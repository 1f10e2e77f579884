"""Where the fleet is, the key to it, and what keeps the way there private."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from browserfleet.client.errors import ConfigurationInvalid

_EXPOSED = "is another machine, and the key would travel in plaintext"
_ALLOWED = "FLEET_ALLOW_PLAINTEXT=true where the network is trusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The CA that certified the front door, and the caller's own certificate where the fleet asks for one: PEM texts.

    For a front door that a public CA certified, `ca` is the system's bundle.
    """

    ca: str
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """Addresses of a fleet and the API key.

    `url` is the edge (`http://host:port`), `grpc` the gRPC front door (`host:port`). The key is never printed, and
    is sent to these two addresses only. Without `tls` the front door is called in plaintext, which needs
    `allow_plaintext` where it is another machine.
    """

    url: str
    grpc: str
    api_key: str = field(repr=False)
    tls: TlsSettings | None = None
    allow_plaintext: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read FLEET_URL, FLEET_GRPC, FLEET_API_KEY, FLEET_TLS_CA, FLEET_TLS_CERT, FLEET_TLS_KEY, FLEET_ALLOW_PLAINTEXT.

        The API key and the three for TLS may each be in a file instead, named by FLEET_API_KEY_FILE and so on.
        Raises ConfigurationInvalid, which names everything that is wrong at once.
        """
        faults: list[str] = []
        allow_plaintext = _allow_plaintext(env, faults)
        tls = _tls(env, faults)
        url = _edge_url(env.get("FLEET_URL", "").strip(), faults, plaintext=allow_plaintext)
        grpc = _front_door(env.get("FLEET_GRPC", "").strip(), faults, plaintext=allow_plaintext or tls is not None)
        api_key = _api_key(env, faults)
        if faults:
            raise ConfigurationInvalid(faults)
        return cls(url=url, grpc=grpc, api_key=api_key, tls=tls, allow_plaintext=allow_plaintext)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its looks: names are not resolved."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _edge_url(url: str, faults: list[str], *, plaintext: bool) -> str:
    parts = urlsplit(url)
    if not url:
        faults.append("FLEET_URL is not set: the fleet's HTTP address, for example http://127.0.0.1:8080")
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        faults.append("FLEET_URL is not an http or https URL")
    elif parts.username or parts.password or parts.query:
        faults.append("FLEET_URL must not carry credentials or a query: the key goes in FLEET_API_KEY")
    elif parts.scheme == "http" and not plaintext and not is_loopback(parts.hostname):
        faults.append(f"FLEET_URL {_EXPOSED}: use https, or set {_ALLOWED}")
    return url.rstrip("/")


def _front_door(address: str, faults: list[str], *, plaintext: bool) -> str:
    host, _, port = address.rpartition(":")
    if not address:
        faults.append("FLEET_GRPC is not set: host:port of the fleet's gRPC front door")
    elif not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 65536:
        faults.append("FLEET_GRPC is not host:port")
    elif not plaintext and not is_loopback(host):
        faults.append(f"FLEET_GRPC {_EXPOSED}: set FLEET_TLS_CA, or {_ALLOWED}")
    return address


def _api_key(env: Mapping[str, str], faults: list[str]) -> str:
    key = _text(env, "FLEET_API_KEY", faults)
    if key == "":
        faults.append("FLEET_API_KEY is not set (or FLEET_API_KEY_FILE, a file that holds the key)")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        faults.append("the API key holds characters that no key has")
    return key or ""


def _allow_plaintext(env: Mapping[str, str], faults: list[str]) -> bool:
    text = env.get("FLEET_ALLOW_PLAINTEXT", "").strip().lower()
    if text not in ("", "0", "false", "no", "off", "1", "true", "yes", "on"):
        faults.append("FLEET_ALLOW_PLAINTEXT is neither true nor false")
    return text in ("1", "true", "yes", "on")


def _tls(env: Mapping[str, str], faults: list[str]) -> TlsSettings | None:
    """Return None when nothing of it is set."""
    ca = _pem(env, "FLEET_TLS_CA", "CERTIFICATE", faults)
    certificate = _pem(env, "FLEET_TLS_CERT", "CERTIFICATE", faults)
    key = _pem(env, "FLEET_TLS_KEY", "PRIVATE KEY", faults)
    if ca == certificate == key == "":
        return None
    if ca == "":
        faults.append("FLEET_TLS_CA is not set: it says whose certificate the fleet must have")
    if (certificate == "") != (key == ""):
        faults.append("FLEET_TLS_CERT and FLEET_TLS_KEY belong together: set both or none")
    return TlsSettings(ca=ca or "", certificate=certificate or None, key=key or None)


def _pem(env: Mapping[str, str], name: str, kind: str, faults: list[str]) -> str | None:
    text = _text(env, name, faults)
    if text and f"{kind}-----" not in text:
        faults.append(f"{name} holds no PEM {kind.lower()}; a path goes in {name}_FILE")
    return text


def _text(env: Mapping[str, str], name: str, faults: list[str]) -> str | None:
    """Return a variable, or what is in the file that `NAME_FILE` names; "" when neither is set, None when faulty."""
    text, file = env.get(name, "").strip(), env.get(f"{name}_FILE", "").strip()
    if not file:
        return text
    if text:
        faults.append(f"{name} and {name}_FILE are both set: keep one")
        return None
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        faults.append(f"{name}_FILE cannot be read: {error}")
        return None
    if not text:
        faults.append(f"{name}_FILE is empty")
        return None
    return text
