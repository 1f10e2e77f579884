"""artifact-store's settings; README.md and the deployments name the variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from artifact_store.domain.artifact import ArtifactKind
from artifact_store.domain.retention import Retention
from fleetkit.rpc.tls import TlsIdentity, read_tls
from fleetkit.settings import Secret, SettingsReader

_RETENTION = {
    "FLEET_RETENTION_DOWNLOADS": ArtifactKind.DOWNLOAD,
    "FLEET_RETENTION_RECORDINGS": ArtifactKind.RECORDING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Without `nats_url` ends of sessions are not heard of, and nothing expires.

    `scratch_dir` belongs to this process alone and is emptied at its start; None: a new folder under /tmp.
    """

    postgres_dsn: Secret
    token_public_key: Secret
    s3_endpoint: str
    s3_public_endpoint: str
    s3_region: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: Secret
    grpc_listen: str
    tls: TlsIdentity | None
    max_artifact_bytes: int
    max_uploads: int
    url_ttl: timedelta
    finish_interval: timedelta
    finish_timeout: timedelta
    upload_ttl: timedelta
    nats_url: str | None
    nats_token: Secret | None
    retention: Retention
    expire_interval: timedelta
    scratch_dir: Path | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError that names every bad variable."""
        reader = SettingsReader(env)
        endpoint = reader.text("FLEET_S3_ENDPOINT")
        listen = reader.text("FLEET_GRPC_LISTEN", "0.0.0.0:50053")
        scratch = reader.optional_text("FLEET_SCRATCH_DIR")
        settings = cls(
            postgres_dsn=reader.secret("FLEET_POSTGRES_DSN"),
            token_public_key=reader.secret("FLEET_TOKEN_PUBLIC_KEY"),
            s3_endpoint=endpoint,
            s3_public_endpoint=reader.text("FLEET_S3_PUBLIC_ENDPOINT", endpoint),
            s3_region=reader.text("FLEET_S3_REGION", "us-east-1"),
            s3_bucket=reader.text("FLEET_S3_BUCKET"),
            s3_access_key=reader.text("FLEET_S3_ACCESS_KEY"),
            s3_secret_key=reader.secret("FLEET_S3_SECRET_KEY"),
            grpc_listen=listen,
            tls=read_tls(reader, {"FLEET_GRPC_LISTEN": listen}),
            max_artifact_bytes=reader.integer("FLEET_MAX_ARTIFACT_BYTES", 5 * 1024**3, minimum=1),
            max_uploads=reader.integer("FLEET_MAX_UPLOADS", 32, minimum=1),
            url_ttl=reader.duration("FLEET_URL_TTL", timedelta(minutes=15)),
            finish_interval=reader.duration("FLEET_FINISH_INTERVAL", timedelta(seconds=5)),
            finish_timeout=reader.duration("FLEET_FINISH_TIMEOUT", timedelta(hours=4)),
            upload_ttl=reader.duration("FLEET_UPLOAD_TTL", timedelta(hours=24)),
            nats_url=reader.optional_text("FLEET_NATS_URL"),
            nats_token=reader.optional_secret("FLEET_NATS_TOKEN"),
            retention=Retention(ttls=_retention_ttls(reader)),
            expire_interval=reader.duration("FLEET_EXPIRE_INTERVAL", timedelta(minutes=5)),
            scratch_dir=Path(scratch) if scratch else None,
        )
        reader.finish()
        return settings


def _retention_ttls(reader: SettingsReader) -> dict[ArtifactKind, timedelta]:
    """Read how long each kind is kept after its session's end; a kind whose variable is not set is kept for ever."""
    ttls = {}
    for name, kind in _RETENTION.items():
        ttl = reader.optional_duration(name)
        if ttl is None:
            continue
        ttls[kind] = ttl
        if not reader.given("FLEET_NATS_URL"):
            reader.reject(name, "needs FLEET_NATS_URL: artifacts expire after the end of their session is heard of")
    return ttls
