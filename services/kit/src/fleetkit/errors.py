"""Errors with a machine-readable reason: one class per canonical gRPC code, a subclass per reason in each service.

The names and meanings of the codes are those of https://grpc.io/docs/guides/status-codes/.
"""

from datetime import timedelta


class FleetError(Exception):
    """An answer that a caller can act on.

    The message is one sentence for people and holds no secret. `metadata` travels as `google.rpc.ErrorInfo`
    metadata; `retry_after`, where set, as `google.rpc.RetryInfo`.
    """

    # Fixed by each class; an error that came over the wire carries its sender's.
    reason: str = "INTERNAL"

    def __init__(self, message: str, *, retry_after: timedelta | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.metadata = metadata


class InvalidArgument(FleetError):
    """The request is wrong whatever the state of the system."""

    reason = "INVALID_REQUEST"

    def __init__(self, message: str, *, fields: dict[str, str] | None = None, **metadata: str) -> None:
        super().__init__(message, retry_after=None, **metadata)
        self.fields = fields or {}


class Unauthenticated(FleetError):
    """No credentials, or none that we know."""

    reason = "CREDENTIALS_INVALID"


class PermissionDenied(FleetError):
    """Known, but not allowed."""

    reason = "SCOPE_MISSING"


class NotFound(FleetError):
    """No such thing, or not the caller's."""


class AlreadyExists(FleetError):
    """The name or key is taken."""


class FailedPrecondition(FleetError):
    """Not possible in the present state; trying again does not help until that changes."""


class Aborted(FleetError):
    """Lost a race; read again, then retry."""

    reason = "CHANGED_MEANWHILE"


class OutOfRange(FleetError):
    """Past a limit that depends on the present state."""


class ResourceExhausted(FleetError):
    """A quota or the capacity is used up."""


class Unavailable(FleetError):
    """Something we need does not answer now; a retry is safe."""


class DeadlineExceeded(FleetError):
    """The time ran out; the outcome is unknown."""


class DataLoss(FleetError):
    """Bytes are broken."""


class Unimplemented(FleetError):
    """Not served here."""

    reason = "SERVED_ELSEWHERE"


class Internal(FleetError):
    """A fault of ours."""
