"""What a key press means to a browser: CDP wants more than a person's browser tells."""

from browser_node.adapters.chromium.live.messages import Key

_CONTROL, _META, _SHIFT = 2, 4, 8
_SHORTCUT = _CONTROL | _META
_ALT = 1

_KEY_CODES = {
    "Backspace": 8,
    "Tab": 9,
    "Enter": 13,
    "Shift": 16,
    "Control": 17,
    "Alt": 18,
    "CapsLock": 20,
    "Escape": 27,
    " ": 32,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Insert": 45,
    "Delete": 46,
    "Meta": 91,
    **{f"F{number}": 111 + number for number in range(1, 13)},
}
# On a machine without a desktop nothing but the command itself makes a shortcut do its work; Meta is a Mac's Ctrl.
_EDITS = {"a": "selectAll", "c": "copy", "x": "cut", "v": "paste", "z": "undo", "y": "redo"}


def key_event(key: Key) -> dict[str, object]:
    """Return the parameters of `Input.dispatchKeyEvent`."""
    code = key.key_code or _key_code(key)
    event: dict[str, object] = {
        "type": "keyUp",
        "key": key.key,
        "code": key.code,
        "windowsVirtualKeyCode": code,
        "nativeVirtualKeyCode": code,
        "modifiers": key.modifiers,
        "location": key.location,
        "autoRepeat": key.repeat,
        "isKeypad": key.location == 3,
    }
    if key.action == "down":
        text = _text(key) if key.text is None else key.text
        event |= {"type": "keyDown" if text else "rawKeyDown", "text": text, "commands": _commands(key)}
    return event


def _key_code(key: Key) -> int:
    if len(key.key) == 1 and key.key.upper().isascii() and key.key.isalnum():
        return ord(key.key.upper())
    return _KEY_CODES.get(key.key, 0)


def _text(key: Key) -> str:
    if key.modifiers & (_SHORTCUT | _ALT):
        return ""
    if key.key == "Enter":
        return "\r"
    return key.key if len(key.key) == 1 else ""


def _commands(key: Key) -> list[str]:
    if not key.modifiers & _SHORTCUT or key.modifiers & _ALT:
        return []
    command = _EDITS.get(key.key.lower())
    if command == "undo" and key.modifiers & _SHIFT:
        command = "redo"
    return [command] if command is not None else []
