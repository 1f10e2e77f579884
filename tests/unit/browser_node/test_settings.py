import pytest

from browser_node.domain.limits import SessionLimits
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


def test_what_a_session_may_take_is_read_with_units() -> None:
    env = {**GOOD, "FLEET_SESSION_MEMORY": "512MiB", "FLEET_SESSION_CPUS": "0.5", "FLEET_SESSION_DISK": "1GiB"}

    limits = Settings.from_env(env).session_limits

    assert limits == SessionLimits(memory_bytes=512 << 20, pids=512, cpus=0.5, disk_bytes=1 << 30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLEET_SESSION_MEMORY", "2G"),
        ("FLEET_SESSION_MEMORY", "64MiB"),
        ("FLEET_SESSION_PIDS", "10"),
        ("FLEET_SESSION_CPUS", "nan"),
        ("FLEET_SESSION_CPUS", "0"),
        ("FLEET_SESSION_DISK", "-1"),
        ("FLEET_DISK_FULL_PERCENT", "101"),
        ("FLEET_DRAIN_TIMEOUT", "soon"),
    ],
)
def test_limits_that_no_session_could_live_with_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**GOOD, name: value})

    assert len(caught.value.faults) == 1


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
