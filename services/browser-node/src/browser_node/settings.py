"""What a browser-node is told by its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from browser_node.adapters.captcha.settings import SolverSettings, read_captcha_solver
from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsError, SettingsReader

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_ATTACH_URL = re.compile(r"wss?://[^/?#]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses are `host:port`. `scratch_dir` is where browsers' folders live; the state may be elsewhere.

    `extensions_dir` holds the operator's unpacked extensions, a folder each; `ad_blocker_dir` is what
    `python -m browser_node.adblock` has made, without it the ad blocker knows its starter list.
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
    extensions_dir: Path | None
    ad_blocker_dir: Path | None
    captcha_solver: SolverSettings | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError naming every bad variable."""
        reader = SettingsReader(env)
        session_api = reader.text("FLEET_SESSION_API_ADDRESS")
        artifact_store = reader.text("FLEET_ARTIFACT_STORE_ADDRESS")
        listen = reader.text("FLEET_GRPC_LISTEN", "0.0.0.0:50061")
        scratch_dir = reader.optional_text("FLEET_SCRATCH_DIR")
        chrome_binary = reader.optional_text("FLEET_CHROME_BINARY")
        extensions_dir = reader.optional_text("FLEET_EXTENSIONS_DIR")
        ad_blocker_dir = reader.optional_text("FLEET_AD_BLOCKER_DIR")
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
            extensions_dir=Path(extensions_dir) if extensions_dir else None,
            ad_blocker_dir=Path(ad_blocker_dir) if ad_blocker_dir else None,
            captcha_solver=read_captcha_solver(reader),
        )
        reader.finish()
        faults = []
        if not _NAME.fullmatch(settings.node_name) or len(settings.node_name) > 63:
            faults.append("FLEET_NODE_NAME: must be a host name in lower case, at most 63 characters")
        if not _ATTACH_URL.fullmatch(settings.attach_url):
            faults.append("FLEET_ATTACH_URL: must look like ws://host:port")
        if faults:
            raise SettingsError(faults)
        return settings
