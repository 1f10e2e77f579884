"""session-api's configuration."""

from datetime import timedelta
from pathlib import Path

import pytest

from fleetkit.settings import Secret, SettingsError
from session_api.settings import Settings

_REQUIRED = {
    "FLEET_POSTGRES_DSN": "postgresql://fleet@db/fleet",
    "FLEET_NATS_URL": "nats://bus:4222",
    "FLEET_TOKEN_PRIVATE_KEY": "pem",
    "FLEET_ARTIFACT_STORE_ADDRESS": "store:50051",
    "FLEET_EDGE_URL": "https://fleet.test",
}


def test_what_may_be_left_out_has_a_default() -> None:
    settings = Settings.from_env({**_REQUIRED, "PATH": "/bin"})
    assert settings.grpc_listen == "0.0.0.0:50051"
    assert settings.http_listen == "0.0.0.0:8080"
    assert settings.node_lease == timedelta(seconds=15)
    assert settings.nats_token is None


def test_secrets_come_from_files_too_and_do_not_print(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("the-pem\n")
    env = {name: value for name, value in _REQUIRED.items() if name != "FLEET_TOKEN_PRIVATE_KEY"}
    settings = Settings.from_env({**env, "FLEET_TOKEN_PRIVATE_KEY_FILE": str(key)})
    assert settings.token_private_key == Secret("the-pem")
    assert "the-pem" not in repr(settings)
    assert "fleet@db" not in repr(settings)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as failure:
        Settings.from_env({"FLEET_NODE_LEASE": "soon", "FLEET_EDGE_URI": "x", "FLEET_POSTGRES_POOL_SIZE": "1"})
    names = {fault.split(":")[0] for fault in failure.value.faults}
    assert names == {*_REQUIRED, "FLEET_NODE_LEASE", "FLEET_EDGE_URI", "FLEET_POSTGRES_POOL_SIZE"}
