"""Where the fleet is, and the key to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from browserfleet.client.errors import ConfigurationInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """Addresses of a fleet and the API key.

    `url` is the edge (`http://host:port`), `grpc` the gRPC front door (`host:port`). The key is never printed, and
    is sent to these two addresses only.
    """

    url: str
    grpc: str
    api_key: str = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read FLEET_URL, FLEET_GRPC and FLEET_API_KEY or FLEET_API_KEY_FILE.

        Raises ConfigurationInvalid, which names everything that is wrong at once.
        """
        faults: list[str] = []
        url = _edge_url(env.get("FLEET_URL", "").strip(), faults)
        grpc = _front_door(env.get("FLEET_GRPC", "").strip(), faults)
        api_key = _api_key(env, faults)
        if faults:
            raise ConfigurationInvalid(faults)
        return cls(url=url, grpc=grpc, api_key=api_key)


def _edge_url(url: str, faults: list[str]) -> str:
    parts = urlsplit(url)
    if not url:
        faults.append("FLEET_URL is not set: the fleet's HTTP address, for example http://127.0.0.1:8080")
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        faults.append("FLEET_URL is not an http or https URL")
    elif parts.username or parts.password or parts.query:
        faults.append("FLEET_URL must not carry credentials or a query: the key goes in FLEET_API_KEY")
    return url.rstrip("/")


def _front_door(address: str, faults: list[str]) -> str:
    host, _, port = address.rpartition(":")
    if not address:
        faults.append("FLEET_GRPC is not set: host:port of the fleet's gRPC front door")
    elif not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 65536:
        faults.append("FLEET_GRPC is not host:port")
    return address


def _api_key(env: Mapping[str, str], faults: list[str]) -> str:
    key, file = env.get("FLEET_API_KEY", "").strip(), env.get("FLEET_API_KEY_FILE", "").strip()
    if key and file:
        faults.append("FLEET_API_KEY and FLEET_API_KEY_FILE are both set: keep one")
    elif file:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            faults.append(f"FLEET_API_KEY_FILE cannot be read: {error}")
        else:
            if not key:
                faults.append("FLEET_API_KEY_FILE is empty")
    elif not key:
        faults.append("FLEET_API_KEY is not set (or FLEET_API_KEY_FILE, a file that holds the key)")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        faults.append("the API key holds characters that no key has")
    return key
