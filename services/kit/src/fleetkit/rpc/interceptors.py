"""What every call passes on its way to a servicer: metrics, errors to statuses, a deadline, credentials, schema rules."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import DecodeError, Message
from opentelemetry import metrics

from fleetkit.errors import DeadlineExceeded, FleetError, Internal, InvalidArgument
from fleetkit.rpc.caller import Authenticator, set_caller
from fleetkit.rpc.context import Context, FoundHandler
from fleetkit.rpc.status import code_of, to_status

log = logging.getLogger(__name__)

# A unary call without a deadline, or with a longer one, gets this one.
MAX_UNARY_TIME = timedelta(seconds=60)
# Reserved for the infrastructure: health checks and reflection need no credentials.
_OPEN_SERVICES = ("/grpc.health.v1.", "/grpc.reflection.")


class ServingInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server, in one place, in the order of this module's first line."""

    def __init__(self, authenticator: Authenticator, *, unary_limit: timedelta = MAX_UNARY_TIME) -> None:
        self._authenticator = authenticator
        self._unary_limit = unary_limit
        self._durations = metrics.get_meter(__name__).create_histogram(
            "rpc.server.call.duration", unit="s", description="Time from the call's arrival to its answer."
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[FoundHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> FoundHandler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN_SERVICES):
            return handler
        serializers = {
            "request_deserializer": _lenient(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            streaming = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(self._streaming(method, streaming), **serializers)
        unary = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make_unary = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        cap = None if handler.request_streaming else self._unary_limit.total_seconds()
        return make_unary(self._unary(method, unary, cap), **serializers)

    def _unary(self, method: str, behavior: Any, cap: float | None) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            started, timer = time.monotonic(), asyncio.timeout(cap)
            try:
                async with timer:
                    await self._admit(method, context)
                    response = await behavior(_checked(request), context)
            except TimeoutError:
                if not timer.expired():
                    await self._refuse(method, started, context, _unexpected(method))
                await self._refuse(method, started, context, DeadlineExceeded(f"The call took longer than {cap:g} s."))
            except (FleetError, Exception) as error:
                await self._refuse(method, started, context, _typed(method, error))
            self._record(method, started, grpc.StatusCode.OK)
            return response

        return call

    def _streaming(self, method: str, behavior: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            started = time.monotonic()
            try:
                await self._admit(method, context)
                async for response in behavior(_checked(request), context):
                    yield response
            except Exception as error:
                await self._refuse(method, started, context, _typed(method, error))
            self._record(method, started, grpc.StatusCode.OK)

        return call

    async def _admit(self, method: str, context: Context) -> None:
        metadata: Mapping[str, str] = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        set_caller(await self._authenticator.authenticate(method, metadata))

    async def _refuse(self, method: str, started: float, context: Context, error: FleetError) -> None:
        self._record(method, started, code_of(error))
        status = to_status(error)
        # Not abort_with_status: the tracing interceptor around this one watches abort only.
        await context.abort(status.code, status.details, status.trailing_metadata or ())

    def _record(self, method: str, started: float, code: grpc.StatusCode) -> None:
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method.removeprefix("/"),
            "rpc.response.status_code": code.name,
        }
        self._durations.record(time.monotonic() - started, attributes)


def _typed(method: str, error: Exception) -> FleetError:
    return error if isinstance(error, FleetError) else _unexpected(method)


def _unexpected(method: str) -> FleetError:
    log.exception("%s failed unexpectedly", method)
    return Internal("An internal error happened; the log has it under this call's trace ID.")


class _Unreadable:
    """Stands for bytes that are no message of the method's type."""


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Have bad bytes refused by the interceptor: gRPC itself answers them with UNKNOWN and a traceback in the log."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Unreadable()

    return read


def _checked(request: Any) -> Any:
    if isinstance(request, Message | _Unreadable):
        return _checked_one(request)
    return _checked_stream(request)


async def _checked_stream(requests: AsyncIterator[Message | _Unreadable]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _checked_one(request)


def _checked_one(request: Message | _Unreadable) -> Message:
    if isinstance(request, _Unreadable):
        raise InvalidArgument("The bytes of the request are no message of the method's type.")
    check(request)
    return request


def check(request: Message) -> None:
    """Raise InvalidArgument that names every field which breaks a rule of the request's schema."""
    try:
        violations = protovalidate.collect_violations(request)
    except protovalidate.EvaluationError as error:
        # A value that its own type does not allow, such as a Duration of more than 10 000 years.
        raise InvalidArgument(f"The request is not valid: {error}.") from error
    if not violations:
        return
    fields: dict[str, str] = {}
    for violation in violations:
        field = violation.proto.field
        path = (
            ".".join(f"{element.field_name}{_index(element.subscript)}" for element in field.elements) if field else ""
        )
        text = violation.proto.message
        fields[path] = f"{fields[path]}, {text}" if path in fields else text
    summary = "; ".join(f"{path}: {text}" for path, text in fields.items())
    raise InvalidArgument(f"The request is not valid: {summary}.", fields=fields)


def _index(subscript: Any) -> str:
    # Generated for protovalidate alone; not worth a dependency on its private stubs.
    return f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
