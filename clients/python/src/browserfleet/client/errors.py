"""What can go wrong, as types that a caller can act on.

Every error of this package is a `FleetError`. `reason` is the machine-readable reason from the fleet (the names of
`browserfleet.error.v1.ErrorReason`), or the client's own where the fault was found here; `metadata` is what the fleet
says beside it; no message holds a key or a token.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from browserfleet.client.states import CloseReason, HolderKind, SessionState


class FleetError(Exception):
    """A fault that has no class of its own."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class ConfigurationInvalid(FleetError):
    """The environment does not say how to reach a fleet; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults), reason="CONFIGURATION_INVALID")
        self.faults = tuple(faults)


class InvalidRequest(FleetError):
    """The fleet refuses the request whatever its state; `fields` maps each wrong field to what is wrong with it."""

    fields: Mapping[str, str] = {}


class Unauthenticated(FleetError):
    """The fleet does not know the API key."""


class PermissionDenied(FleetError):
    """The API key may not do this."""


class NotFound(FleetError):
    """No such thing in this organization."""


class SessionNotFound(NotFound):
    """No such session in this organization."""


class ArtifactNotFound(NotFound):
    """No such artifact in this organization."""


class SessionNotOpen(FleetError):
    """The session is not running; `state` says what it is."""

    def __init__(
        self, message: str, *, state: SessionState = SessionState.UNSPECIFIED, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, reason="SESSION_NOT_OPEN", metadata=metadata)
        self.state = state


class SessionEnded(SessionNotOpen):
    """The session has ended, for `close_reason`, at the instant `at` (None where the fleet did not say)."""

    def __init__(
        self,
        message: str,
        *,
        close_reason: CloseReason = CloseReason.UNSPECIFIED,
        at: datetime | None = None,
        state: SessionState = SessionState.CLOSED,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, state=state, metadata=metadata)
        self.close_reason = close_reason
        self.at = at


class SessionOccupied(FleetError):
    """Another task or agent holds the session."""

    @property
    def holder_kind(self) -> HolderKind:
        """What kind of run holds it."""
        return HolderKind(self.metadata.get("holder_kind", "").removeprefix("HOLDER_KIND_"))

    @property
    def holder_id(self) -> str:
        """ID of the run that holds it."""
        return self.metadata.get("holder_id", "")


class OccupancyLost(FleetError):
    """The lease on the session is gone although its block goes on; the error behind it says why."""


class ControlTaken(FleetError):
    """Another person has control of the session."""

    @property
    def holder(self) -> str:
        """Who has control."""
        return self.metadata.get("holder", "")


class FleetFull(FleetError):
    """Every slot is taken, or every place in the queue; `retry_after`, where set, is when to ask again."""


class QueueTimedOut(FleetFull):
    """No slot came free before the queue timeout."""


class LimitReached(FleetError):
    """A quota or a size limit is used up."""


class QuotaExceeded(LimitReached):
    """A quota of the organization is used up; `retry_after`, where set, is when to ask again."""

    @property
    def quota(self) -> str:
        """Name of the quota."""
        return self.metadata.get("quota", "")

    @property
    def limit(self) -> int | None:
        """What the quota allows, where the fleet said so in a whole number."""
        return _whole_number(self.metadata.get("limit", ""))

    @property
    def used(self) -> int | None:
        """What is used of it, where the fleet said so in a whole number."""
        return _whole_number(self.metadata.get("used", ""))


class TimeoutLimit(FleetError):
    """The session's lifetime would pass the operator's limit (`metadata["limit_seconds"]`)."""


class NoCapableNode(FleetError):
    """No node of the fleet has such a browser."""


class OptionUnavailable(FleetError):
    """An option of the session is one that no node, or not its own, can serve."""

    @property
    def option(self) -> str:
        """Name of the option."""
        return self.metadata.get("option", "")

    @property
    def value(self) -> str:
        """What of it is not to be had."""
        return self.metadata.get("value", "")


class ProxyUnreachable(FleetError):
    """The proxy that the session asked for does not answer as it should; the message says how far it came."""


class RequestIdReused(FleetError):
    """The request ID was used for another request."""


class FleetUnavailable(FleetError):
    """The fleet does not answer now; what was safe to repeat has been repeated."""


class BrowserStartFailed(FleetUnavailable):
    """The browser did not come up; a new session may."""


class CallTimedOut(FleetError):
    """No answer in time; what became of the call is not known."""


class AttachFailed(FleetError):
    """The session runs, but no connection to its browser came about."""


class WaitTimedOut(FleetError):
    """What was waited for did not come within the bound."""


class SessionNotReady(WaitTimedOut):
    """The session was not up in time and was closed; `state` is what it was, `queue_position` its place if QUEUED."""

    def __init__(self, message: str, *, state: SessionState, queue_position: int | None) -> None:
        super().__init__(message, reason="SESSION_NOT_READY")
        self.state = state
        self.queue_position = queue_position


class ArtifactFailed(FleetError):
    """The artifact's bytes were lost before they were stored."""


class TransferFailed(FleetError):
    """The artifact's bytes did not arrive, or are not the bytes that the fleet stored."""


def _whole_number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
