"""What a signed URL tells the object store to answer with."""

import urllib.parse

_SAFE_TYPE = "application/octet-stream"
# A browser runs scripts in these when it shows them.
_ACTIVE_TYPES = frozenset(
    {"text/html", "text/xml", "text/javascript", "text/css", "message/rfc822", "multipart/related"}
)
_ACTIVE_SUBTYPES = ("xml", "html", "javascript", "ecmascript", "svg")


def served_content_type(content_type: str) -> str:
    """Return the type to serve under: what a browser would execute goes out as plain bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _ACTIVE_TYPES or any(word in kind.partition("/")[2] for word in _ACTIVE_SUBTYPES):
        return _SAFE_TYPE
    return kind or _SAFE_TYPE


def attachment(display_name: str) -> str:
    """Return a Content-Disposition (RFC 6266) with an ASCII name and the true one in UTF-8 (RFC 5987)."""
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\%;' else "_" for char in display_name
    )
    encoded = urllib.parse.quote(display_name, safe="!#$&+-.^_`|~")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
