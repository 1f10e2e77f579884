"""Where the fleet is, read from the environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from browserfleet.client import ConfigurationInvalid, FleetSettings
from browserfleet.client.calls import open_channel
from browserfleet.client.durations import to_timedelta
from browserfleet.client.settings import TlsSettings

_GOOD = {"FLEET_URL": "http://127.0.0.1:8080/", "FLEET_GRPC": "127.0.0.1:50051", "FLEET_API_KEY": "bf_key"}
_ELSEWHERE = {**_GOOD, "FLEET_URL": "https://fleet.test", "FLEET_GRPC": "fleet.test:50051"}
_CERTIFICATE = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"
_KEY = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"


def _faults(env: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationInvalid) as caught:
        FleetSettings.from_env(env)
    return caught.value.faults


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        FleetSettings.from_env({"FLEET_URL": "127.0.0.1:8080", "FLEET_GRPC": "http://127.0.0.1"})
    assert [fault.split()[0] for fault in caught.value.faults] == ["FLEET_URL", "FLEET_GRPC", "FLEET_API_KEY"]


def test_a_key_in_the_url_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="must not carry credentials"):
        FleetSettings.from_env({**_GOOD, "FLEET_URL": "http://127.0.0.1:8080/?key=bf_key"})


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("bf_file\n")
    settings = FleetSettings.from_env({**_GOOD, "FLEET_API_KEY": "", "FLEET_API_KEY_FILE": str(file)})
    assert settings.api_key == "bf_file"


def test_a_key_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        FleetSettings.from_env({**_GOOD, "FLEET_API_KEY": "", "FLEET_API_KEY_FILE": str(tmp_path / "key")})


def test_the_key_is_not_printed() -> None:
    assert "bf_key" not in repr(FleetSettings.from_env(_GOOD))


def test_a_key_does_not_go_to_another_machine_in_plaintext() -> None:
    faults = _faults({**_ELSEWHERE, "FLEET_URL": "http://fleet.test"})
    assert [fault.split()[0] for fault in faults] == ["FLEET_URL", "FLEET_GRPC"]
    assert all("FLEET_ALLOW_PLAINTEXT" in fault for fault in faults)
    assert "FLEET_TLS_CA" in faults[1]


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "localhost:50051", "[::1]:50051"])
def test_plaintext_stays_possible_on_this_machine(address: str) -> None:
    assert FleetSettings.from_env({**_GOOD, "FLEET_GRPC": address}).tls is None


def test_plaintext_to_another_machine_may_be_allowed() -> None:
    env = {**_ELSEWHERE, "FLEET_URL": "http://fleet.test", "FLEET_ALLOW_PLAINTEXT": "true"}
    assert FleetSettings.from_env(env).allow_plaintext


def test_a_ca_alone_is_enough_for_tls(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(_CERTIFICATE)
    assert FleetSettings.from_env({**_ELSEWHERE, "FLEET_TLS_CA_FILE": str(file)}).tls == TlsSettings(ca=_CERTIFICATE)


def test_a_certificate_of_the_callers_own_is_read_and_its_key_not_printed() -> None:
    env = {"FLEET_TLS_CA": _CERTIFICATE, "FLEET_TLS_CERT": _CERTIFICATE, "FLEET_TLS_KEY": _KEY}
    settings = FleetSettings.from_env({**_ELSEWHERE, **env})
    assert settings.tls == TlsSettings(ca=_CERTIFICATE, certificate=_CERTIFICATE, key=_KEY)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"FLEET_TLS_CERT": _CERTIFICATE, "FLEET_TLS_KEY": _KEY}, "FLEET_TLS_CA is not set"),
        ({"FLEET_TLS_CA": _CERTIFICATE, "FLEET_TLS_KEY": _KEY}, "FLEET_TLS_CERT and FLEET_TLS_KEY belong together"),
        ({"FLEET_TLS_CA": "/etc/fleet/ca.crt"}, "FLEET_TLS_CA holds no PEM certificate"),
        ({"FLEET_TLS_CA_FILE": "/nowhere/ca.crt"}, "FLEET_TLS_CA_FILE cannot be read"),
        ({"FLEET_TLS_CA": _CERTIFICATE, "FLEET_ALLOW_PLAINTEXT": "perhaps"}, "FLEET_ALLOW_PLAINTEXT is neither"),
    ],
)
def test_faulty_tls_is_not_taken_for_plaintext(env: dict[str, str], fault: str) -> None:
    [found] = _faults({**_ELSEWHERE, **env})
    assert found.startswith(fault)


async def test_settings_made_by_hand_keep_to_the_same_rule() -> None:
    with pytest.raises(ConfigurationInvalid, match="in plaintext"):
        open_channel("fleet.test:50051")
    await open_channel("fleet.test:50051", allow_plaintext=True).close()


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("30m", timedelta(minutes=30)),
        ("1h 30m", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("50ms", timedelta(milliseconds=50)),
        (5, timedelta(minutes=5)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_spans_are_written_with_units(span: timedelta | str | int, expected: timedelta) -> None:
    assert to_timedelta(span) == expected


@pytest.mark.parametrize("span", ["30", "m", "", "10 minutes", "-5m"])
def test_text_without_units_is_refused(span: str) -> None:
    with pytest.raises(ValueError, match="span of time"):
        to_timedelta(span)
