"""Where the fleet is, read from the environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from browserfleet.client import ConfigurationInvalid, FleetSettings
from browserfleet.client.durations import to_timedelta

_GOOD = {"FLEET_URL": "http://127.0.0.1:8080/", "FLEET_GRPC": "127.0.0.1:50051", "FLEET_API_KEY": "bf_key"}


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
