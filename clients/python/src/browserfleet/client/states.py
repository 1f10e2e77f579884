"""The states and reasons that a fleet reports, as strings that compare and print.

A fleet newer than this client may report a value that is not known here: it reads as UNSPECIFIED.
"""

from collections.abc import Iterable
from enum import StrEnum, auto
from typing import Self


class _Reported(StrEnum):
    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
        return name

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls("UNSPECIFIED")

    @classmethod
    def of(cls, number: int, names: Iterable[tuple[str, int]], *, prefix: str) -> Self:
        """Return what a number of a protobuf enum stands for; `names` are that enum's `items()`."""
        return cls(next((name for name, value in names if value == number), "").removeprefix(prefix))


class SessionState(_Reported):
    """Where a session is in its life; CLOSED and FAILED are final."""

    UNSPECIFIED = auto()
    QUEUED = auto()
    STARTING = auto()
    RUNNING = auto()
    CLOSING = auto()
    CLOSED = auto()
    FAILED = auto()

    @property
    def final(self) -> bool:
        """Whether the session has ended for good."""
        return self in (SessionState.CLOSED, SessionState.FAILED)


class CloseReason(_Reported):
    """Why a session ended."""

    UNSPECIFIED = auto()
    USER_REQUESTED = auto()
    TIMED_OUT = auto()
    IDLE = auto()
    QUEUE_TIMED_OUT = auto()
    START_FAILED = auto()
    BROWSER_CRASHED = auto()
    NODE_LOST = auto()
    NODE_DRAINED = auto()
    CLIENT_GONE = auto()
    OUT_OF_MEMORY = auto()
    DISK_FULL = auto()


class HolderKind(_Reported):
    """What kind of run holds a session."""

    UNSPECIFIED = auto()
    TASK = auto()
    AGENT = auto()


class WatchKind(_Reported):
    """What a watch says of a session."""

    UNSPECIFIED = auto()
    # As it was when the watch began.
    SNAPSHOT = auto()
    # As it is after a change.
    CHANGED = auto()
    # As it is after a change, and not what is watched any more. It may not have been before either.
    LEFT = auto()


class ReceiptState(_Reported):
    """How what the browser reports compares to what was asked."""

    UNSPECIFIED = auto()
    APPLIED = auto()
    # The browser reports something else; the receipt's message says why.
    DIFFERENT = auto()
    # Applied, but the browser has no way to report it.
    UNVERIFIED = auto()


class ArtifactState(_Reported):
    """Where an artifact's bytes are; STORED and FAILED are final."""

    UNSPECIFIED = auto()
    PENDING = auto()
    STORED = auto()
    FAILED = auto()

    @property
    def final(self) -> bool:
        """Whether the bytes are in the store, or lost for good."""
        return self in (ArtifactState.STORED, ArtifactState.FAILED)
