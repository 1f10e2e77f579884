"""Refusals before the upgrade, and the statuses they get."""

from http import HTTPStatus

from browser_node.adapters.doors.door import HttpAnswer
from browser_node.domain.errors import SessionNotOpen, StaleEpoch
from fleetkit.errors import (
    FailedPrecondition,
    FleetError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)


class MisdirectedHost(InvalidArgument):
    """The request's host name is none."""


class UpgradeRequired(InvalidArgument):
    """There is a WebSocket here, and the request asks for something else."""


class MethodNotAllowed(Unimplemented):
    """Chrome's own port does this; a session's clients do it over CDP."""


def refusal(error: FleetError) -> HttpAnswer:
    """Return the answer to a request that was refused."""
    status, headers = _status_of(error)
    return HttpAnswer(status=status, body={"reason": error.reason, "message": error.message}, headers=headers)


def _status_of(error: FleetError) -> tuple[HTTPStatus, tuple[tuple[str, str], ...]]:
    match error:
        case MisdirectedHost():
            return HTTPStatus.MISDIRECTED_REQUEST, ()
        case UpgradeRequired():
            return HTTPStatus.UPGRADE_REQUIRED, (("Upgrade", "websocket"),)
        case MethodNotAllowed():
            return HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", ""),)
        case InvalidArgument():
            return HTTPStatus.BAD_REQUEST, ()
        case Unauthenticated():
            return HTTPStatus.UNAUTHORIZED, (("WWW-Authenticate", "Bearer"),)
        case PermissionDenied():
            return HTTPStatus.FORBIDDEN, ()
        case NotFound():
            return HTTPStatus.NOT_FOUND, ()
        case SessionNotOpen() | StaleEpoch():
            return HTTPStatus.GONE, ()
        case FailedPrecondition():
            return HTTPStatus.CONFLICT, ()
        case ResourceExhausted():
            return HTTPStatus.TOO_MANY_REQUESTS, (("Retry-After", "1"),)
        case Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE, (("Retry-After", "2"),)
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR, ()
