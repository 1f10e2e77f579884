"""Failed calls to typed errors, from the `google.rpc` details that the fleet sends."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from browserfleet.client import errors
from browserfleet.client.states import CloseReason, SessionState

_BY_REASON: Mapping[str, type[errors.FleetError]] = {
    "SESSION_NOT_FOUND": errors.SessionNotFound,
    "ARTIFACT_NOT_FOUND": errors.ArtifactNotFound,
    "NO_CAPACITY": errors.FleetFull,
    "NODE_FULL": errors.FleetFull,
    "QUEUE_FULL": errors.FleetFull,
    "QUEUE_TIMED_OUT": errors.QueueTimedOut,
    "QUOTA_EXCEEDED": errors.QuotaExceeded,
    "SESSION_OCCUPIED": errors.SessionOccupied,
    "CONTROL_TAKEN": errors.ControlTaken,
    "NO_CAPABLE_NODE": errors.NoCapableNode,
    "OPTION_UNAVAILABLE": errors.OptionUnavailable,
    "PROXY_UNREACHABLE": errors.ProxyUnreachable,
    "REQUEST_ID_REUSED": errors.RequestIdReused,
    "TIMEOUT_LIMIT": errors.TimeoutLimit,
    "BROWSER_START_FAILED": errors.BrowserStartFailed,
}
_BY_CODE: Mapping[grpc.StatusCode, type[errors.FleetError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.LimitReached,
    grpc.StatusCode.UNAVAILABLE: errors.FleetUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.CallTimedOut,
}


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.FleetError:
    """Return the typed error behind a failed call: by its reason, else by its code."""
    reason, metadata, fields = "", dict[str, str](), dict[str, str]()
    retry_after: timedelta | None = None
    for detail in _status_of(error).details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            fields = {violation.field: violation.description for violation in bad.field_violations}
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    message = _sentence(error, fields)
    if reason == "SESSION_NOT_OPEN":
        return _not_open(message, metadata)
    kind: Callable[..., errors.FleetError] = _BY_REASON.get(reason) or _BY_CODE.get(error.code(), errors.FleetError)
    translated = kind(message, reason=reason or error.code().name, metadata=metadata, retry_after=retry_after)
    if isinstance(translated, errors.InvalidRequest):
        translated.fields = fields
    return translated


def _sentence(error: grpc.aio.AioRpcError, fields: Mapping[str, str]) -> str:
    message = (error.details() or error.code().name).strip()
    unsaid = [f"{field}: {fault}" for field, fault in fields.items() if field not in message]
    return f"{message} ({'; '.join(unsaid)})" if unsaid else message


def _not_open(message: str, metadata: Mapping[str, str]) -> errors.SessionNotOpen:
    state = SessionState(metadata.get("state", "").removeprefix("STATE_"))
    close_reason = metadata.get("close_reason", "").removeprefix("CLOSE_REASON_")
    if state.final or state is SessionState.CLOSING or close_reason not in ("", "UNSPECIFIED"):
        return errors.SessionEnded(message, close_reason=CloseReason(close_reason), state=state, metadata=metadata)
    return errors.SessionNotOpen(message, state=state, metadata=metadata)


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                # A peer that is not ours: its code and text are all there is.
                return status_pb2.Status()
    return status
