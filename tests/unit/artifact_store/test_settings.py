"""artifact-store's settings."""

from datetime import timedelta

import pytest

from artifact_store.domain.artifact import ArtifactKind
from artifact_store.settings import Settings
from fleetkit.settings import SettingsError

GOOD = {
    "FLEET_POSTGRES_DSN": "postgresql://127.0.0.1/x",
    "FLEET_TOKEN_PUBLIC_KEY": "key",
    "FLEET_S3_ENDPOINT": "http://127.0.0.1:1",
    "FLEET_S3_BUCKET": "artifacts",
    "FLEET_S3_ACCESS_KEY": "a",
    "FLEET_S3_SECRET_KEY": "s",
    "FLEET_GRPC_LISTEN": "127.0.0.1:0",
}
NATS = {"FLEET_NATS_URL": "nats://127.0.0.1:1"}


def test_without_further_settings_everything_is_kept_for_ever() -> None:
    settings = Settings.from_env(GOOD)
    assert settings.nats_url is None
    assert settings.retention.ttls == {}


def test_each_kind_is_kept_for_its_own_time() -> None:
    settings = Settings.from_env(GOOD | NATS | {"FLEET_RETENTION_DOWNLOADS": "30d", "FLEET_RETENTION_RECORDINGS": ""})
    assert settings.retention.ttls == {ArtifactKind.DOWNLOAD: timedelta(days=30)}


@pytest.mark.parametrize("text", ["30 days", "-1d", "for ever"])
def test_a_retention_that_is_no_span_is_a_fault(text: str) -> None:
    with pytest.raises(SettingsError, match="FLEET_RETENTION_RECORDINGS"):
        Settings.from_env(GOOD | NATS | {"FLEET_RETENTION_RECORDINGS": text})


def test_a_retention_without_the_bus_is_a_fault() -> None:
    with pytest.raises(SettingsError, match="FLEET_RETENTION_DOWNLOADS: needs FLEET_NATS_URL"):
        Settings.from_env(GOOD | {"FLEET_RETENTION_DOWNLOADS": "1d"})
