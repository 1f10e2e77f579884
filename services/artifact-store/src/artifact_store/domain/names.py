"""File names that came from a web page, made fit for display and for a download header."""

import unicodedata

MAX_NAME_BYTES = 255
_FALLBACK = "unnamed"
# Controls, format characters (right-to-left overrides among them), surrogates, private use, line and paragraph ends.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Zero-width joiner: without it joined emoji fall apart.
_KEPT = frozenset({"\u200d"})
# Names that Windows reserves whatever their suffix; a person may save the file there.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)
_REPLACED = str.maketrans(dict.fromkeys('<>:"|?*', "_"))


def clean_display_name(name: str) -> str:
    """Return the last path part of `name`, one line without control characters, 1 to 255 bytes of UTF-8.

    The suffix survives shortening. A name of which nothing is left becomes `unnamed`.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    visible = "".join(
        char for char in last if char in _KEPT or unicodedata.category(char) not in _REFUSED_CATEGORIES
    ).translate(_REPLACED)
    # Leading dots hide a file; trailing dots and blanks vanish on some systems.
    trimmed = " ".join(visible.split()).lstrip(". ").rstrip(". ")
    if trimmed.partition(".")[0].lower() in _DEVICES:
        trimmed = f"_{trimmed}"
    return _shortened(trimmed) or _FALLBACK


def with_suffix(name: str, suffix: str) -> str:
    """Return `name` with its last suffix, if any, replaced by `suffix` (with its dot)."""
    stem, dot, _ = name.rpartition(".")
    return clean_display_name((stem if dot else name)[: MAX_NAME_BYTES - len(suffix)] + suffix)


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = f"{dot}{suffix}" if stem and len(suffix.encode()) <= 16 else ""
    head = stem if tail else name
    room = MAX_NAME_BYTES - len(tail.encode())
    # A cut inside a character is dropped with it.
    return head.encode()[:room].decode(errors="ignore").rstrip(". ") + tail
