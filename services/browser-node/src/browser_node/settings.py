"""What a browser-node is told by its environment."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from browser_node.adapters.captcha.settings import SolverSettings, read_captcha_solver
from browser_node.domain.egress import EgressPolicy, EgressRule
from browser_node.domain.limits import SessionLimits
from browser_node.domain.proxies import ProxyLocations
from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsError, SettingsReader

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_ATTACH_URL = re.compile(r"wss?://[^/?#]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses are `host:port`. `scratch_dir` is where browsers' folders live; the state may be elsewhere.

    `extensions_dir` holds the operator's unpacked extensions, a folder each; `ad_blocker_dir` is what
    `python -m browser_node.adblock` has made, without it the ad blocker knows its starter list.
    `warm_browsers` is how many browsers stand ready while the node has room for them. A node that is told to stop
    lets its sessions live on for `drain_timeout`.
    """

    session_api_address: str
    artifact_store_address: str
    node_key: Secret
    node_name: str
    grpc_listen: str
    grpc_advertise: str
    tls: TlsIdentity | None
    attach_listen: str
    attach_url: str
    slots: int
    state_dir: Path
    scratch_dir: Path | None
    chrome_binary: Path | None
    edge_binary: Path | None
    warm_browsers: int
    allow_no_sandbox: bool
    egress: EgressPolicy
    proxy_locations: ProxyLocations = field(repr=False)
    extensions_dir: Path | None
    ad_blocker_dir: Path | None
    captcha_solver: SolverSettings | None
    session_limits: SessionLimits
    disk_full_percent: int
    drain_timeout: timedelta
    # Files that the environment names as holding secrets.
    secret_files: tuple[Path, ...]

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError naming every bad variable."""
        reader = SettingsReader(env)
        session_api = reader.text("FLEET_SESSION_API_ADDRESS")
        artifact_store = reader.text("FLEET_ARTIFACT_STORE_ADDRESS")
        listen = reader.text("FLEET_GRPC_LISTEN", "0.0.0.0:50061")
        attach_listen = reader.text("FLEET_ATTACH_LISTEN", "0.0.0.0:9223")
        slots = reader.integer("FLEET_SLOTS", 4, minimum=1)
        settings = cls(
            session_api_address=session_api,
            artifact_store_address=artifact_store,
            node_key=reader.secret("FLEET_NODE_KEY"),
            node_name=reader.text("FLEET_NODE_NAME"),
            grpc_listen=listen,
            grpc_advertise=reader.text("FLEET_GRPC_ADVERTISE"),
            tls=read_tls(
                reader,
                {
                    "FLEET_GRPC_LISTEN": listen,
                    "FLEET_SESSION_API_ADDRESS": session_api,
                    "FLEET_ARTIFACT_STORE_ADDRESS": artifact_store,
                },
            ),
            attach_listen=attach_listen,
            attach_url=reader.text("FLEET_ATTACH_URL"),
            slots=slots,
            state_dir=reader.path("FLEET_STATE_DIR"),
            scratch_dir=_optional_path(reader, "FLEET_SCRATCH_DIR"),
            chrome_binary=_optional_path(reader, "FLEET_CHROME_BINARY"),
            edge_binary=_optional_path(reader, "FLEET_EDGE_BINARY"),
            # Each takes the memory of a browser with a blank page.
            warm_browsers=reader.integer("FLEET_WARM_BROWSERS", min(2, slots)),
            allow_no_sandbox=reader.flag("FLEET_ALLOW_NO_SANDBOX", False),
            egress=_read_egress(reader, own=(listen, attach_listen, session_api, artifact_store)),
            proxy_locations=_read_locations(reader),
            extensions_dir=_optional_path(reader, "FLEET_EXTENSIONS_DIR"),
            ad_blocker_dir=_optional_path(reader, "FLEET_AD_BLOCKER_DIR"),
            captcha_solver=read_captcha_solver(reader),
            session_limits=SessionLimits(
                memory_bytes=reader.size("FLEET_SESSION_MEMORY", "2GiB", minimum=128 << 20),
                pids=reader.integer("FLEET_SESSION_PIDS", 512, minimum=100),
                cpus=reader.number("FLEET_SESSION_CPUS", 2.0, minimum=0.1),
                disk_bytes=reader.size("FLEET_SESSION_DISK", "7GiB", minimum=16 << 20),
            ),
            disk_full_percent=reader.integer("FLEET_DISK_FULL_PERCENT", 85, minimum=1),
            drain_timeout=reader.duration("FLEET_DRAIN_TIMEOUT", timedelta(0)),
            secret_files=tuple(
                Path(value) for name, value in env.items() if name.startswith("FLEET_") and name.endswith("_FILE")
            ),
        )
        reader.finish()
        faults = []
        if settings.disk_full_percent > 100:
            faults.append("FLEET_DISK_FULL_PERCENT: must be at most 100")
        if not _NAME.fullmatch(settings.node_name) or len(settings.node_name) > 63:
            faults.append("FLEET_NODE_NAME: must be a host name in lower case, at most 63 characters")
        if not _ATTACH_URL.fullmatch(settings.attach_url):
            faults.append("FLEET_ATTACH_URL: must look like ws://host:port")
        if faults:
            raise SettingsError(faults)
        return settings


def _optional_path(reader: SettingsReader, name: str) -> Path | None:
    text = reader.optional_text(name)
    return Path(text) if text else None


def _read_egress(reader: SettingsReader, *, own: Iterable[str]) -> EgressPolicy:
    """Read what browsers may connect to. The ports of the addresses `own` are among the fleet's own."""
    ports = {_port(address) for address in own}
    for text in _listed(reader, "FLEET_EGRESS_OWN_PORTS"):
        if text.isdecimal() and 0 < int(text) < 65536:
            ports.add(int(text))
        else:
            reader.reject("FLEET_EGRESS_OWN_PORTS", "must be ports with commas between them")
    return EgressPolicy(
        allow=_read_rules(reader, "FLEET_EGRESS_ALLOW"),
        deny=_read_rules(reader, "FLEET_EGRESS_DENY"),
        own_ports=frozenset(ports - {0}),
    )


def _read_rules(reader: SettingsReader, name: str) -> tuple[EgressRule, ...]:
    rules = []
    for number, text in enumerate(_listed(reader, name), start=1):
        try:
            rules.append(EgressRule.parse(text))
        except ValueError as error:
            reader.reject(name, f"entry {number}: {error}")
    return tuple(rules)


def _read_locations(reader: SettingsReader) -> ProxyLocations:
    """Read the proxies, most often from the file that FLEET_PROXY_LOCATIONS_FILE names: they have passwords."""
    text = reader.optional_secret("FLEET_PROXY_LOCATIONS")
    try:
        return ProxyLocations.parse(text.reveal()) if text is not None else ProxyLocations()
    except ValueError as error:
        reader.reject("FLEET_PROXY_LOCATIONS", str(error))
        return ProxyLocations()


def _listed(reader: SettingsReader, name: str) -> list[str]:
    return [text.strip() for text in (reader.optional_text(name) or "").split(",") if text.strip()]


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0
