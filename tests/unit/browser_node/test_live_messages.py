import json
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser_node.adapters.chromium.live import messages as live
from browser_node.adapters.chromium.live.keyboard import key_event
from browser_node.adapters.chromium.pictures.pictures import Picture
from tests.support.artifact_recordings import jpeg

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
TYPES = [command.__struct_config__.tag for command in get_args(live.LiveCommand)]

MEMBERS = sorted({name for command in get_args(live.LiveCommand) for name in command.__struct_fields__})


def parse(**members: object) -> live.LiveCommand:
    return live.parse_command(json.dumps(members).encode())


@given(st.binary(max_size=200))
def test_bytes_are_a_command_or_wrong(data: bytes) -> None:
    with pytest.raises(live.WrongCommand):
        live.parse_command(data)


@given(
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=6),
)
def test_commands_with_any_members_are_good_or_wrong(kind: str, members: dict[str, object]) -> None:
    try:
        command = live.parse_command(json.dumps({**members, "type": kind}).encode("utf-8", "surrogatepass"))
    except live.WrongCommand:
        return
    for name in ("x", "y"):
        assert 0 <= getattr(command, name, 0) <= 1
    assert len(getattr(command, "text", None) or "") <= live.MAX_TEXT
    if isinstance(command, live.Key):
        key_event(command)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ack", "seq": -1},
        {"type": "mouse_move", "tab": 1, "x": 1.01, "y": 0},
        {"type": "mouse_button", "tab": 1, "x": 0, "y": 0, "action": "hold"},
        {"type": "wheel", "tab": 1, "x": 0, "y": 0, "dy": 1e9},
        {"type": "edit", "tab": 1, "command": "insertHTML"},
        {"type": "quality", "fps": 1000},
        {"type": "quality", "fps": 0},
        {"type": "quality", "fps": 5, "width": 100_000},
        {"type": "text", "tab": 1, "text": "x" * (live.MAX_TEXT + 1)},
        {"type": "text", "tab": "1", "text": ""},
        {"type": "elsewhere"},
        {"tab": 1},
        [],
    ],
)
def test_what_is_out_of_range_is_wrong(message: object) -> None:
    with pytest.raises(live.WrongCommand):
        live.parse_command(json.dumps(message).encode())


def test_members_that_a_newer_client_sends_are_ignored() -> None:
    assert parse(type="ack", seq=4, later="thing") == live.Ack(4)


def test_deep_nesting_is_wrong() -> None:
    with pytest.raises(live.WrongCommand):
        live.parse_command(b'{"type":"ack","seq":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_picture_is_headed_as_the_protocol_says() -> None:
    picture = Picture(
        target_id="T",
        jpeg=jpeg(64, 48),
        taken_ms=1_700_000_000_123,
        page_width=1280,
        page_height=960.5,
        offset_top=0,
        page_scale=2,
    )

    header = live.frame_header(picture, seq=7, tab=3)

    assert struct.unpack("!BBHIQIHHffff", header) == (1, 1, 40, 7, 1_700_000_000_123, 3, 64, 48, 1280, 960.5, 0, 2)


@pytest.mark.parametrize(
    ("scale", "offset", "point", "expected"),
    [
        (1, 0, (0, 0), (0, 0)),
        (1, 0, (1, 1), (800, 1200)),
        (1, 0, (0.5, 0.25), (400, 300)),
        (2, 0, (0.5, 0.25), (200, 150)),
        (1, 100, (0.5, 0.25), (400, 200)),
        (1, 100, (0.5, 0.01), (400, 0)),
    ],
)
def test_points_of_a_picture_are_points_of_the_page(
    scale: float, offset: float, point: tuple[float, float], expected: tuple[float, float]
) -> None:
    picture = Picture(
        target_id="T",
        jpeg=b"",
        taken_ms=0,
        page_width=800,
        page_height=1200,
        offset_top=offset,
        page_scale=scale,
    )

    assert picture.to_page(*point) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"key": "a"}, {"type": "keyDown", "text": "a", "windowsVirtualKeyCode": 65, "commands": []}),
        ({"key": "ü"}, {"type": "keyDown", "text": "ü", "windowsVirtualKeyCode": 0}),
        ({"key": "Enter"}, {"type": "keyDown", "text": "\r", "windowsVirtualKeyCode": 13}),
        ({"key": "ArrowUp"}, {"type": "rawKeyDown", "text": "", "windowsVirtualKeyCode": 38}),
        ({"key": "a", "modifiers": 2}, {"type": "rawKeyDown", "text": "", "commands": ["selectAll"]}),
        ({"key": "v", "modifiers": 4}, {"type": "rawKeyDown", "commands": ["paste"]}),
        ({"key": "Z", "modifiers": 12}, {"type": "rawKeyDown", "commands": ["redo"]}),
        ({"key": "a", "modifiers": 3}, {"type": "rawKeyDown", "commands": []}),
        ({"key": "5", "key_code": 101, "location": 3}, {"windowsVirtualKeyCode": 101, "isKeypad": True}),
    ],
)
def test_keys_get_what_the_browser_wants(members: dict[str, object], expected: dict[str, object]) -> None:
    command = parse(type="key", tab=1, action="down", **members)
    assert isinstance(command, live.Key)

    event = key_event(command)

    assert {name: event[name] for name in expected} == expected
