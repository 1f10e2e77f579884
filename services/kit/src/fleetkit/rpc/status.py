"""Typed errors to gRPC statuses with `google.rpc` details, and back (https://google.aip.dev/193)."""

from datetime import timedelta

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from fleetkit import errors

DOMAIN = "browserfleet"

_CODES: list[tuple[type[errors.FleetError], grpc.StatusCode]] = [
    (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Aborted, grpc.StatusCode.ABORTED),
    (errors.OutOfRange, grpc.StatusCode.OUT_OF_RANGE),
    (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.DataLoss, grpc.StatusCode.DATA_LOSS),
    (errors.Unimplemented, grpc.StatusCode.UNIMPLEMENTED),
    (errors.Internal, grpc.StatusCode.INTERNAL),
]


def code_of(error: errors.FleetError) -> grpc.StatusCode:
    """Return the canonical code of an error's class."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def to_proto(error: errors.FleetError) -> status_pb2.Status:
    """Return the error as `google.rpc.Status`: ErrorInfo always, BadRequest and RetryInfo where they apply."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if isinstance(error, errors.InvalidArgument) and error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in error.fields.items()
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    number: int = code_of(error).value[0]
    return status_pb2.Status(code=number, message=error.message, details=details)


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def to_status(error: errors.FleetError) -> grpc.Status:
    """Return what `context.abort_with_status` takes."""
    return rpc_status.to_status(to_proto(error))


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.FleetError:
    """Return the typed error behind a failed call.

    The class is that of the code. `reason` is the peer's own where it sent one, so that `error.reason` can be
    compared whichever side of a call one stands on.
    """
    kind = next((kind for kind, code in _CODES if code == error.code()), errors.Internal)
    reason = kind.reason
    metadata: dict[str, str] = {}
    fields: dict[str, str] = {}
    retry_after: timedelta | None = None
    status = _status_of(error)
    for detail in status.details if status else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            fields = {violation.field: violation.description for violation in bad.field_violations}
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    message = (error.details() or code_pb2.Code.Name(error.code().value[0])).strip()
    translated = kind(message)
    translated.reason = reason
    translated.metadata = metadata
    translated.retry_after = retry_after
    if isinstance(translated, errors.InvalidArgument):
        translated.fields = fields
    return translated


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    except ValueError:
        # Code and details disagree: a peer that is not ours.
        return None
