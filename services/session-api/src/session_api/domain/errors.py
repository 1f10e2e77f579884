"""What can be wrong with a request for a session, by reason."""

from fleetkit import errors


class SessionNotFound(errors.NotFound):
    """No such session in the caller's organization."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self) -> None:
        # The same words for another organization's session: existence is a secret too.
        super().__init__("There is no such session.")


class SessionNotOpen(errors.FailedPrecondition):
    """The session is not running."""

    reason = "SESSION_NOT_OPEN"


class SessionChanged(errors.Aborted):
    """Somebody else changed the session between reading and saving it."""

    reason = "CHANGED_MEANWHILE"


class RequestIdReused(errors.AlreadyExists):
    """The idempotency key was used for another request."""

    reason = "REQUEST_ID_REUSED"


class TimeoutLimit(errors.OutOfRange):
    """The lifetime would pass its limit."""

    reason = "TIMEOUT_LIMIT"


class NoCapableNode(errors.FailedPrecondition):
    """No node of the fleet has such a browser."""

    reason = "NO_CAPABLE_NODE"


class NoCapacity(errors.ResourceExhausted):
    """Every slot is taken."""

    reason = "NO_CAPACITY"


class BrowserStartFailed(errors.Unavailable):
    """The browser did not come up."""

    reason = "BROWSER_START_FAILED"


class NodeUnavailable(errors.Unavailable):
    """The node does not answer."""

    reason = "NODE_UNAVAILABLE"


class RegistrationEnded(errors.Aborted):
    """The node's registration was superseded or given up."""

    reason = "REGISTRATION_ENDED"


class ArtifactStoreUnavailable(errors.Unavailable):
    """artifact-store does not answer."""

    reason = "ARTIFACT_STORE_UNAVAILABLE"
