"""Settings from the environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from fleetkit.settings import Secret, SettingsError, SettingsReader


def _faults(reader: SettingsReader) -> list[str]:
    with pytest.raises(SettingsError) as failure:
        reader.finish()
    return failure.value.faults


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("5", timedelta(seconds=5)),
        ("1.5s", timedelta(seconds=1.5)),
        ("2m", timedelta(minutes=2)),
        ("1h", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_span_has_a_unit_or_means_seconds(text: str, span: timedelta) -> None:
    reader = SettingsReader({"FLEET_SPAN": text})
    assert reader.duration("FLEET_SPAN", timedelta()) == span
    reader.finish()


@pytest.mark.parametrize("text", ["", "x", "-5s", "5 s", "5w", "1e3", "99999999999999999d"])
def test_what_is_no_span_is_a_fault(text: str) -> None:
    reader = SettingsReader({"FLEET_SPAN": text})
    reader.duration("FLEET_SPAN", timedelta())
    assert len(_faults(reader)) == 1


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("0", False)])
def test_a_flag_has_several_spellings(text: str, value: bool) -> None:
    assert SettingsReader({"FLEET_FLAG": text}).flag("FLEET_FLAG", not value) is value


def test_faults_name_the_variable_and_never_the_value(tmp_path: Path) -> None:
    reader = SettingsReader(
        {
            "FLEET_NUMBER": "hunter2",
            "FLEET_SMALL": "1",
            "FLEET_FLAG": "hunter2",
            "FLEET_FILE_FILE": str(tmp_path / "absent"),
            "FLEET_TWICE": "hunter2",
            "FLEET_TWICE_FILE": "hunter2",
            "FLEET_EMPTY": "",
            "FLEET_UNKNOWN": "hunter2",
            "OTHER": "hunter2",
        }
    )
    reader.integer("FLEET_NUMBER")
    reader.integer("FLEET_SMALL", minimum=2)
    reader.flag("FLEET_FLAG", False)
    reader.secret("FLEET_FILE")
    reader.text("FLEET_TWICE")
    reader.secret("FLEET_EMPTY")
    reader.text("FLEET_ABSENT")
    faults = _faults(reader)
    assert [fault.split(":")[0] for fault in faults] == [
        "FLEET_NUMBER",
        "FLEET_SMALL",
        "FLEET_FLAG",
        "FLEET_FILE",
        "FLEET_TWICE",
        "FLEET_EMPTY",
        "FLEET_ABSENT",
        "FLEET_UNKNOWN",
    ]
    assert "hunter2" not in "".join(faults)


def test_a_file_holds_the_value_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    reader = SettingsReader({"FLEET_TOKEN_FILE": str(file)})
    assert reader.secret("FLEET_TOKEN") == Secret("secret")
    reader.finish()


def test_an_optional_variable_may_be_empty_or_absent() -> None:
    reader = SettingsReader({"FLEET_A": ""})
    assert reader.optional_text("FLEET_A") is None
    assert reader.optional_secret("FLEET_B") is None
    assert reader.text("FLEET_C", "default") == "default"
    assert reader.path("FLEET_D", "/tmp") == Path("/tmp")
    reader.finish()


def test_a_secret_prints_as_stars() -> None:
    assert f"{Secret('hunter2')!r} {Secret('hunter2')}" == "Secret(***) Secret(***)"
