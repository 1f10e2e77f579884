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
_TRUSTED_NETWORK = {"FLEET_ALLOW_PLAINTEXT": "true"}


def test_what_may_be_left_out_has_a_default() -> None:
    settings = Settings.from_env(_REQUIRED | _TRUSTED_NETWORK | {"PATH": "/bin"})
    assert settings.grpc_listen == "0.0.0.0:50051"
    assert settings.http_listen == "0.0.0.0:8080"
    assert settings.node_lease == timedelta(seconds=15)
    assert (settings.queue_timeout, settings.queue_limit) == (timedelta(minutes=5), 10_000)
    assert (settings.nats_token, settings.tls) == (None, None)
    assert not settings.allow_private_urls


def test_plaintext_stays_on_the_machine_unless_the_network_is_trusted() -> None:
    with pytest.raises(SettingsError) as failure:
        Settings.from_env(_REQUIRED)
    (fault,) = failure.value.faults
    assert fault.startswith("FLEET_GRPC_LISTEN, FLEET_ARTIFACT_STORE_ADDRESS: plaintext would leave this machine")
    local = {"FLEET_GRPC_LISTEN": "127.0.0.1:0", "FLEET_ARTIFACT_STORE_ADDRESS": "127.0.0.1:50052"}
    assert Settings.from_env(_REQUIRED | local).tls is None


def test_secrets_come_from_files_too_and_do_not_print(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("the-pem\n")
    env = {name: value for name, value in _REQUIRED.items() if name != "FLEET_TOKEN_PRIVATE_KEY"}
    settings = Settings.from_env({**env, **_TRUSTED_NETWORK, "FLEET_TOKEN_PRIVATE_KEY_FILE": str(key)})
    assert settings.token_private_key == Secret("the-pem")
    assert "the-pem" not in repr(settings)
    assert "fleet@db" not in repr(settings)


def test_every_fault_is_named_at_once() -> None:
    wrong = {
        "FLEET_NODE_LEASE": "soon",
        "FLEET_QUEUE_LIMIT": "-1",
        "FLEET_QUEUE_TIMEOUT": "",
        "FLEET_EDGE_URI": "x",
        "FLEET_POSTGRES_POOL_SIZE": "1",
    }
    with pytest.raises(SettingsError) as failure:
        Settings.from_env(_TRUSTED_NETWORK | wrong)
    names = {fault.split(":")[0] for fault in failure.value.faults}
    assert names == {*_REQUIRED, *wrong}
