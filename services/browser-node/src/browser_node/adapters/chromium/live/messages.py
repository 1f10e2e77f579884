"""The live view's protocol, version 1, as docs/live-view.md says it: what is sent and what may be asked."""

import struct
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from browser_node.adapters.chromium.pictures.pictures import Picture

PROTOCOL = 1
MAX_FRAME_RATE = 30
MAX_TEXT = 256 * 1024

_JPEG = 1
_HEADER = struct.Struct("!BBHIQIHHffff")

_Number = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
_Share = Annotated[float, Meta(ge=0, le=1)]
# Bits as CDP has them: Alt 1, Ctrl 2, Meta 4, Shift 8.
_Modifiers = Annotated[int, Meta(ge=0, le=15)]
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Name = Annotated[str, Meta(max_length=32)]
_Button = Literal["left", "middle", "right", "back", "forward"]
_Side = Annotated[int, Meta(ge=64, le=3840)]
_Edit = Literal[
    "selectAll",
    "unselect",
    "copy",
    "cut",
    "paste",
    "pasteAndMatchStyle",
    "undo",
    "redo",
    "delete",
    "deleteBackward",
    "deleteForward",
    "moveToBeginningOfDocument",
    "moveToEndOfDocument",
    "moveToBeginningOfLine",
    "moveToEndOfLine",
    "moveWordLeft",
    "moveWordRight",
]


class _Command(Struct, frozen=True, tag_field="type", gc=False):
    pass


# ---- for every viewer


class Ack(_Command, tag="ack", frozen=True):
    """Pictures up to this one have arrived."""

    seq: _Number


class Watch(_Command, tag="watch", frozen=True):
    """Watch one tab; None: the one that is shown or was used last."""

    tab: _Number | None = None


class Quality(_Command, tag="quality", frozen=True):
    """How many pictures at most, how large and how good."""

    fps: Annotated[float, Meta(ge=0.1, le=MAX_FRAME_RATE)]
    width: _Side = 1280
    height: _Side = 720
    quality: Annotated[int, Meta(ge=10, le=90)] = 60


# ---- for who has control


class MouseMove(_Command, tag="mouse_move", frozen=True):
    tab: _Number
    x: _Share
    y: _Share
    buttons: Annotated[int, Meta(ge=0, le=31)] = 0
    modifiers: _Modifiers = 0


class MouseButton(_Command, tag="mouse_button", frozen=True):
    tab: _Number
    action: Literal["down", "up"]
    x: _Share
    y: _Share
    button: _Button = "left"
    buttons: Annotated[int, Meta(ge=0, le=31)] = 0
    clicks: Annotated[int, Meta(ge=1, le=3)] = 1
    modifiers: _Modifiers = 0


class Wheel(_Command, tag="wheel", frozen=True):
    tab: _Number
    x: _Share
    y: _Share
    dx: Annotated[float, Meta(ge=-10_000, le=10_000)] = 0
    dy: Annotated[float, Meta(ge=-10_000, le=10_000)] = 0
    modifiers: _Modifiers = 0


class Key(_Command, tag="key", frozen=True):
    """`key` and `code` as in a browser's KeyboardEvent; `key_code` and `text` follow from them where not given."""

    tab: _Number
    action: Literal["down", "up"]
    key: _Name
    code: _Name = ""
    key_code: Annotated[int, Meta(ge=0, le=255)] = 0
    text: _Name | None = None
    location: Annotated[int, Meta(ge=0, le=3)] = 0
    repeat: bool = False
    modifiers: _Modifiers = 0


class Edit(_Command, tag="edit", frozen=True):
    tab: _Number
    command: _Edit


class Text(_Command, tag="text", frozen=True):
    """Insert text, and end a composition with it."""

    tab: _Number
    text: _Text


class Compose(_Command, tag="compose", frozen=True):
    """The text under an input method's hands; its selection counts UTF-16 units."""

    tab: _Number
    text: _Text
    selection_start: _Number = 0
    selection_end: _Number = 0


class Copy(_Command, tag="copy", frozen=True):
    """Answered with the event `clipboard`."""

    tab: _Number


class TabNew(_Command, tag="tab_new", frozen=True):
    url: _Text = "about:blank"


class TabClose(_Command, tag="tab_close", frozen=True):
    tab: _Number


class TabActivate(_Command, tag="tab_activate", frozen=True):
    tab: _Number


class Navigate(_Command, tag="navigate", frozen=True):
    tab: _Number
    url: _Text


class Back(_Command, tag="back", frozen=True):
    tab: _Number


class Forward(_Command, tag="forward", frozen=True):
    tab: _Number


class Reload(_Command, tag="reload", frozen=True):
    tab: _Number
    ignore_cache: bool = False


class Dialog(_Command, tag="dialog", frozen=True):
    """Answer the dialog that a tab shows."""

    tab: _Number
    accept: bool
    text: _Text = ""


ControlCommand = (
    MouseMove
    | MouseButton
    | Wheel
    | Key
    | Edit
    | Text
    | Compose
    | Copy
    | TabNew
    | TabClose
    | TabActivate
    | Navigate
    | Back
    | Forward
    | Reload
    | Dialog
)
ViewerCommand = Ack | Watch | Quality
LiveCommand = ViewerCommand | ControlCommand

_decode = msgspec.json.Decoder(LiveCommand).decode
encode_event = msgspec.json.Encoder().encode


class WrongCommand(Exception):
    """It is no command; the message says what is wrong with it."""


def parse_command(message: bytes) -> LiveCommand:
    """Return the command in a text message. Raises WrongCommand."""
    try:
        command: LiveCommand = _decode(message)
        return command
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        # What a JSON parser says of a message may repeat parts of it, but no more than a field's name.
        raise WrongCommand(str(error)[:200]) from error


def frame_header(picture: Picture, *, seq: int, tab: int) -> bytes:
    """Return what stands before a JPEG in a binary message. Raises ValueError when it is no JPEG."""
    width, height = picture.size
    return _HEADER.pack(
        PROTOCOL,
        _JPEG,
        _HEADER.size,
        seq & 0xFFFF_FFFF,
        max(picture.taken_ms, 0),
        tab,
        width,
        height,
        picture.page_width,
        picture.page_height,
        picture.offset_top,
        picture.page_scale,
    )
