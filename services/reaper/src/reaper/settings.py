"""The reaper's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    session_api_address: str
    service_key: Secret
    nats_url: str
    nats_token: Secret | None
    sweep_interval: timedelta
    grpc_listen: str
    tls: TlsIdentity | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError that names every bad variable."""
        reader = SettingsReader(env)
        session_api = reader.text("FLEET_SESSION_API_ADDRESS")
        listen = reader.text("FLEET_GRPC_LISTEN", "0.0.0.0:50054")
        settings = cls(
            session_api_address=session_api,
            service_key=reader.secret("FLEET_SERVICE_KEY"),
            nats_url=reader.text("FLEET_NATS_URL"),
            nats_token=reader.optional_secret("FLEET_NATS_TOKEN"),
            sweep_interval=reader.duration("FLEET_SWEEP_INTERVAL", timedelta(seconds=2)),
            grpc_listen=listen,
            tls=read_tls(reader, {"FLEET_GRPC_LISTEN": listen, "FLEET_SESSION_API_ADDRESS": session_api}),
        )
        reader.finish()
        return settings
