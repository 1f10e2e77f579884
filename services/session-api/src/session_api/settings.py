"""session-api's configuration, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator sets; what has a default in `from_env` may be left out."""

    postgres_dsn: Secret
    postgres_pool_size: int
    nats_url: str
    nats_token: Secret | None
    # PEM of the Ed25519 key that signs attach, control and artifact tokens.
    token_private_key: Secret
    # `host:port` of artifact-store's gRPC server.
    artifact_store_address: str
    # Base URL under which callers reach the HTTP edge.
    edge_url: str
    grpc_listen: str
    http_listen: str
    heartbeat_interval: timedelta
    # A node that was silent for this long is lost.
    node_lease: timedelta
    # A node that gets no answer for this long ends its browsers.
    isolation_budget: timedelta
    # How long a session waits for a slot unless it says so itself, and how many may wait.
    queue_timeout: timedelta
    queue_limit: int
    # Whether start URLs and proxies may name private networks. Nodes judge by their own rules all the same.
    allow_private_urls: bool
    tls: TlsIdentity | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError that names every wrong, missing or unknown variable."""
        read = SettingsReader(env)
        grpc_listen = read.text("FLEET_GRPC_LISTEN", "0.0.0.0:50051")
        artifact_store_address = read.text("FLEET_ARTIFACT_STORE_ADDRESS")
        settings = cls(
            postgres_dsn=read.secret("FLEET_POSTGRES_DSN"),
            postgres_pool_size=read.integer("FLEET_POSTGRES_POOL_SIZE", 20, minimum=2),
            nats_url=read.text("FLEET_NATS_URL"),
            nats_token=read.optional_secret("FLEET_NATS_TOKEN"),
            token_private_key=read.secret("FLEET_TOKEN_PRIVATE_KEY"),
            artifact_store_address=artifact_store_address,
            edge_url=read.text("FLEET_EDGE_URL"),
            grpc_listen=grpc_listen,
            http_listen=read.text("FLEET_HTTP_LISTEN", "0.0.0.0:8080"),
            heartbeat_interval=read.duration("FLEET_HEARTBEAT_INTERVAL", timedelta(seconds=5)),
            node_lease=read.duration("FLEET_NODE_LEASE", timedelta(seconds=15)),
            isolation_budget=read.duration("FLEET_ISOLATION_BUDGET", timedelta(seconds=120)),
            queue_timeout=read.duration("FLEET_QUEUE_TIMEOUT", timedelta(minutes=5)),
            queue_limit=read.integer("FLEET_QUEUE_LIMIT", 10_000, minimum=0),
            allow_private_urls=read.flag("FLEET_ALLOW_PRIVATE_URLS", False),
            tls=read_tls(
                read,
                {"FLEET_GRPC_LISTEN": grpc_listen, "FLEET_ARTIFACT_STORE_ADDRESS": artifact_store_address},
            ),
        )
        read.finish()
        return settings
