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


class OptionUnavailable(errors.FailedPrecondition):
    """An option of the session is one that no node, or not its own, can serve."""

    reason = "OPTION_UNAVAILABLE"


class ProxyUnreachable(errors.FailedPrecondition):
    """The proxy that the session asked for does not answer as it should."""

    reason = "PROXY_UNREACHABLE"


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


class QuotaExceeded(errors.ResourceExhausted):
    """A quota of the organization is used up."""

    reason = "QUOTA_EXCEEDED"


class QueueFull(errors.ResourceExhausted):
    """The queue holds as many sessions as it may."""

    reason = "QUEUE_FULL"


class QueueTimedOut(errors.ResourceExhausted):
    """No slot came free before the queue timeout."""

    reason = "QUEUE_TIMED_OUT"


class SessionOccupied(errors.FailedPrecondition):
    """Another task or agent holds the session."""

    reason = "SESSION_OCCUPIED"


class ControlTaken(errors.FailedPrecondition):
    """Another person has control of the session."""

    reason = "CONTROL_TAKEN"


class NodeNotFound(errors.NotFound):
    """No such node."""

    reason = "NODE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such node.")


class NodeNameTaken(errors.PermissionDenied):
    """The name is that of another organization's node."""

    reason = "NODE_NAME_TAKEN"


class OrganizationNotFound(errors.NotFound):
    """No such organization, or not the caller's."""

    reason = "ORGANIZATION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such organization.")


class OrganizationExists(errors.AlreadyExists):
    """The organization exists, with other settings."""

    reason = "ORGANIZATION_EXISTS"


class ApiKeyNotFound(errors.NotFound):
    """No such key in the caller's organization."""

    reason = "API_KEY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such API key.")


class ApiKeyRevoked(errors.FailedPrecondition):
    """The key has ended."""

    reason = "API_KEY_REVOKED"


class InvalidResumeToken(errors.InvalidArgument):
    """The token is not ours, or belongs to another watch."""

    reason = "INVALID_RESUME_TOKEN"


class ResumeTokenExpired(errors.OutOfRange):
    """The token is too old to go on from."""

    reason = "RESUME_TOKEN_EXPIRED"


class TooManyWatches(errors.ResourceExhausted):
    """The organization watches as often as it may."""

    reason = "TOO_MANY_WATCHES"


class ServiceStopping(errors.Unavailable):
    """This replica stops; another one serves."""

    reason = "SERVICE_STOPPING"
