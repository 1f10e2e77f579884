"""IDs: a prefix that names the kind, then a ULID in lower case (https://github.com/ulid/spec): sorts by time."""

import os
import time
from datetime import datetime
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
_RANDOM_BITS = 80


class IdSource(Protocol):
    """Makes IDs that nobody else makes."""

    def new(self, prefix: str) -> str:
        """Return `<prefix>_` and 26 lower-case Crockford base-32 characters."""
        ...


class RandomIds:
    """48 bits of milliseconds and 80 of the system's randomness; those of one source sort by the order of their making.

    As the specification has it, an ID of the same millisecond is the one before plus 1.
    """

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str) -> str:
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds <= self._last >> _RANDOM_BITS:
            # The same millisecond, or a clock that was set back.
            self._last += 1
        else:
            self._last = milliseconds << _RANDOM_BITS | int.from_bytes(os.urandom(_RANDOM_BITS // 8))
        return _written(prefix, self._last)


def first_of(prefix: str, instant: datetime) -> str:
    """Return an ID that sorts before every other one that is made at this instant or later."""
    return _written(prefix, int(instant.timestamp() * 1000) << _RANDOM_BITS)


def _written(prefix: str, value: int) -> str:
    digits = [_ALPHABET[(value >> 5 * place) & 31] for place in reversed(range(_LENGTH))]
    return f"{prefix}_{''.join(digits)}"
