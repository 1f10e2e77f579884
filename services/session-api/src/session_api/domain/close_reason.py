"""Why sessions end."""

from enum import StrEnum


class CloseReason(StrEnum):
    """Why a session ended. It is written once."""

    USER_REQUESTED = "USER_REQUESTED"
    TIMED_OUT = "TIMED_OUT"
    IDLE = "IDLE"
    QUEUE_TIMED_OUT = "QUEUE_TIMED_OUT"
    START_FAILED = "START_FAILED"
    BROWSER_CRASHED = "BROWSER_CRASHED"
    NODE_LOST = "NODE_LOST"
    NODE_DRAINED = "NODE_DRAINED"
    CLIENT_GONE = "CLIENT_GONE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"

    @property
    def is_fault(self) -> bool:
        """Whether a session that ended so is FAILED; it is CLOSED otherwise."""
        return self not in {
            CloseReason.USER_REQUESTED,
            CloseReason.TIMED_OUT,
            CloseReason.IDLE,
            CloseReason.NODE_DRAINED,
        }

    @property
    def sentence(self) -> str:
        """The reason as one sentence for people."""
        return _SENTENCES[self]


_SENTENCES = {
    CloseReason.USER_REQUESTED: "The session was closed on request.",
    CloseReason.TIMED_OUT: "The session's timeout ran out.",
    CloseReason.IDLE: "Nothing happened in the session for longer than its idle timeout.",
    CloseReason.QUEUE_TIMED_OUT: "No slot came free in time.",
    CloseReason.START_FAILED: "The browser did not start.",
    CloseReason.BROWSER_CRASHED: "The browser ended by itself.",
    CloseReason.NODE_LOST: "The node that held the browser is gone or was cut off.",
    CloseReason.NODE_DRAINED: "The node that held the browser was drained.",
    CloseReason.CLIENT_GONE: "The caller was gone before the session was up.",
    CloseReason.OUT_OF_MEMORY: "The browser used more memory than a session may.",
    CloseReason.DISK_FULL: "The browser used more disk than a session may.",
}
