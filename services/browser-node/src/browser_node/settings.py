"""What a browser-node is told by its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from browser_node.domain.limits import SessionLimits
from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsError, SettingsReader

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_ATTACH_URL = re.compile(r"wss?://[^/?#]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses are `host:port`. `scratch_dir` is where browsers' folders live; the state may be elsewhere.

    A node that is told to stop lets its sessions live on for `drain_timeout`.
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
    allow_no_sandbox: bool
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
        scratch_dir = reader.optional_text("FLEET_SCRATCH_DIR")
        chrome_binary = reader.optional_text("FLEET_CHROME_BINARY")
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
            attach_listen=reader.text("FLEET_ATTACH_LISTEN", "0.0.0.0:9223"),
            attach_url=reader.text("FLEET_ATTACH_URL"),
            slots=reader.integer("FLEET_SLOTS", 4, minimum=1),
            state_dir=reader.path("FLEET_STATE_DIR"),
            scratch_dir=Path(scratch_dir) if scratch_dir else None,
            chrome_binary=Path(chrome_binary) if chrome_binary else None,
            allow_no_sandbox=reader.flag("FLEET_ALLOW_NO_SANDBOX", False),
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
