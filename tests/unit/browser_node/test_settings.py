import pytest

from browser_node.settings import Settings
from fleetkit.settings import SettingsError

GOOD = {
    "FLEET_GRPC_LISTEN": "127.0.0.1:5",
    "FLEET_SESSION_API_ADDRESS": "127.0.0.1:1",
    "FLEET_ARTIFACT_STORE_ADDRESS": "127.0.0.1:2",
    "FLEET_NODE_KEY": "bf_x",
    "FLEET_NODE_NAME": "node-1",
    "FLEET_GRPC_ADVERTISE": "127.0.0.1:3",
    "FLEET_ATTACH_URL": "ws://127.0.0.1:4",
    "FLEET_STATE_DIR": "/var/lib/node",
}


def test_good_settings_are_read() -> None:
    settings = Settings.from_env(GOOD)

    assert settings.slots == 4
    assert not settings.allow_no_sandbox
    assert "bf_x" not in repr(settings)


def test_every_fault_is_reported() -> None:
    env = {**GOOD, "FLEET_SLOTS": "0", "FLEET_SLOT": "3"}
    del env["FLEET_NODE_KEY"]

    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)

    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(("name", "value"), [("FLEET_NODE_NAME", "Node 1"), ("FLEET_ATTACH_URL", "http://x")])
def test_names_and_addresses_that_the_fleet_would_refuse_are_refused_here(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        Settings.from_env({**GOOD, name: value})
