"""Refusals of a node, each with a reason of the contract."""

from fleetkit.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable


class NodeFull(ResourceExhausted):
    """Every slot of the node is taken."""

    reason = "NODE_FULL"


class NodeDraining(FailedPrecondition):
    """The node is stopping."""

    reason = "NODE_DRAINING"


class StaleEpoch(FailedPrecondition):
    """A newer allocation of the session exists."""

    reason = "STALE_EPOCH"


class BrowserTypeUnavailable(FailedPrecondition):
    """The node has no such browser."""

    reason = "BROWSER_TYPE_UNAVAILABLE"


class BrowserStartFailed(Unavailable):
    """The browser did not come up."""

    reason = "BROWSER_START_FAILED"


class BrowserNotFound(NotFound):
    """No browser of this session runs here."""

    reason = "BROWSER_NOT_FOUND"


class SessionNotOpen(FailedPrecondition):
    """The session's browser has ended."""

    reason = "SESSION_NOT_OPEN"


class ClientLimit(ResourceExhausted):
    """As many clients as may be are attached to the session."""

    reason = "NO_CAPACITY"


class ViewerLimit(ResourceExhausted):
    """As many viewers as may be watch the session."""

    reason = "NO_CAPACITY"


class RegistrationEnded(Aborted):
    """session-api knows a newer registration of this node, or has given this one up."""

    reason = "REGISTRATION_ENDED"


class OptionUnavailable(FailedPrecondition):
    """The session asks for an option that this node cannot serve."""

    reason = "OPTION_UNAVAILABLE"


class InvalidOption(InvalidArgument):
    """An option of the session has a value that no browser could take."""

    def __init__(self, option: str, why: str) -> None:
        super().__init__(f"{option}: {why}.", fields={f"spec.{option}": why})


class ProxyUnreachable(FailedPrecondition):
    """The session's proxy does not answer as it should; the message says how far it came."""

    reason = "PROXY_UNREACHABLE"
