"""Typed errors as HTTP answers."""

import json

from fleetkit import errors
from session_api.domain.errors import SessionNotOpen

_STATUS: list[tuple[type[errors.FleetError], int]] = [
    (errors.InvalidArgument, 400),
    (errors.Unauthenticated, 401),
    (errors.PermissionDenied, 403),
    (errors.NotFound, 404),
    (errors.AlreadyExists, 409),
    (errors.FailedPrecondition, 409),
    (errors.Aborted, 409),
    (errors.OutOfRange, 400),
    (errors.ResourceExhausted, 429),
    (errors.Unimplemented, 501),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
]
_ENDED = {"CLOSING", "CLOSED", "FAILED"}


def http_status(error: errors.FleetError) -> int:
    """Return the HTTP status of an error; a session that has ended is 410 Gone."""
    if isinstance(error, SessionNotOpen) and error.metadata.get("state") in _ENDED:
        return 410
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_body(error: errors.FleetError) -> bytes:
    """Return the JSON body: reason, message and metadata, as in `google.rpc.ErrorInfo`."""
    body = {"reason": error.reason, "message": error.message, "metadata": error.metadata}
    return json.dumps({"error": body}).encode()
