from pathlib import Path

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


def test_extensions_and_their_settings_are_read() -> None:
    given = {"EXTENSIONS_DIR": "/srv/x", "AD_BLOCKER_DIR": "/srv/ads", "CAPTCHA_SOLVER": "offline"}
    settings = Settings.from_env({**GOOD, **{f"FLEET_{name}": value for name, value in given.items()}})

    assert (settings.extensions_dir, settings.ad_blocker_dir) == (Path("/srv/x"), Path("/srv/ads"))
    assert settings.captcha_solver is not None
    assert Settings.from_env(GOOD).captcha_solver is None


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


def test_what_browsers_may_reach_is_read() -> None:
    settings = Settings.from_env(
        GOOD
        | {
            "FLEET_EGRESS_ALLOW": "127.0.0.0/8, *.corp.example:8080",
            "FLEET_EGRESS_DENY": "evil.example",
            "FLEET_EGRESS_OWN_PORTS": "4222,5432",
        }
    )

    assert [rule.suffix for rule in settings.egress.allow] == ["", ".corp.example"]
    assert settings.egress.deny[0].name == "evil.example"
    # The node's own doors and what it talks to are among them.
    assert settings.egress.own_ports == {1, 2, 5, 4222, 5432, 9223}


def test_by_default_browsers_reach_public_addresses_and_no_proxy_is_known() -> None:
    settings = Settings.from_env(GOOD)

    assert settings.egress.allow == ()
    assert settings.proxy_locations.upstreams == {}


def test_proxies_are_read_from_a_file_and_not_printed(tmp_path: Path) -> None:
    file = tmp_path / "proxies.toml"
    file.write_text('[[locations.US]]\nurl = "http://h.example:1"\nusername = "u"\npassword = "canary"\n')

    settings = Settings.from_env(GOOD | {"FLEET_PROXY_LOCATIONS_FILE": str(file)})

    assert settings.proxy_locations.upstreams["US"][0].password == "canary"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLEET_EGRESS_ALLOW", "10.0.0.1/8"),
        ("FLEET_EGRESS_DENY", "ok.example,a b"),
        ("FLEET_EGRESS_OWN_PORTS", "4222,http"),
        ("FLEET_EGRESS_OWN_PORTS", "65536"),
        ("FLEET_PROXY_LOCATIONS", "secret"),
    ],
)
def test_wrong_egress_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(GOOD | {name: value})

    assert [fault.partition(":")[0] for fault in caught.value.faults] == [name]
