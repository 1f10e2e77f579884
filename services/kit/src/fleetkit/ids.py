"""IDs: a prefix that names the kind, then a ULID in lower case (https://github.com/ulid/spec): sorts by time."""

import os
import time
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


class IdSource(Protocol):
    """Makes IDs that nobody else makes."""

    def new(self, prefix: str) -> str:
        """Return `<prefix>_` and 26 lower-case Crockford base-32 characters."""
        ...


class RandomIds:
    """48 bits of milliseconds and 80 bits of the system's randomness."""

    def new(self, prefix: str) -> str:
        value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
        digits = [_ALPHABET[(value >> 5 * place) & 31] for place in reversed(range(_LENGTH))]
        return f"{prefix}_{''.join(digits)}"
