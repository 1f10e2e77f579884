"""The reaper's settings."""

from datetime import timedelta

import pytest

from fleetkit.settings import SettingsError
from reaper.settings import Settings

GOOD = {
    "FLEET_SESSION_API_ADDRESS": "session-api:50051",
    "FLEET_SERVICE_KEY": "bf_service",
    "FLEET_NATS_URL": "nats://nats:4222",
}
_PLAINTEXT = {"FLEET_ALLOW_PLAINTEXT": "true"}


def test_a_sweep_comes_soon_enough_to_be_on_time_without_messages() -> None:
    assert Settings.from_env(GOOD | _PLAINTEXT).sweep_interval == timedelta(seconds=2)


def test_an_operators_sweep_interval_is_kept() -> None:
    assert Settings.from_env(GOOD | _PLAINTEXT | {"FLEET_SWEEP_INTERVAL": "1m"}).sweep_interval == timedelta(minutes=1)


def test_every_bad_variable_is_named() -> None:
    with pytest.raises(SettingsError) as failure:
        Settings.from_env(_PLAINTEXT | {"FLEET_SWEEP_INTERVAL": "soon", "FLEET_TYPO": "1"})
    names = {fault.partition(":")[0] for fault in failure.value.faults}
    assert names == {*GOOD, "FLEET_SWEEP_INTERVAL", "FLEET_TYPO"}
