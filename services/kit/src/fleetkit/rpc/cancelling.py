"""Passes a caller's cancellation on to the server.

A tracing interceptor awaits the call that it began; when it is cancelled there, gRPC forgets the call, and the server
works on for nobody until its deadline. Of each pair, `Ending…` stands before such interceptors and `Noting…` after.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc

# grpc.aio leaves the messages of any method open, so that they are Any here.
_Details = grpc.aio.ClientCallDetails

_begun: contextvars.ContextVar[list[grpc.aio.Call]] = contextvars.ContextVar("begun")


@contextlib.contextmanager
def _ending_what_was_begun() -> Iterator[None]:
    calls: list[grpc.aio.Call] = []
    token = _begun.set(calls)
    try:
        yield
    except asyncio.CancelledError:
        for call in calls:
            call.cancel()
        raise
    finally:
        _begun.reset(token)


class EndingUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[[_Details, Any], Awaitable[Any]], client_call_details: _Details, request: Any
    ) -> Any:
        with _ending_what_was_begun():
            return await continuation(client_call_details, request)


class NotingUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[[_Details, Any], Awaitable[Any]], client_call_details: _Details, request: Any
    ) -> Any:
        call = await continuation(client_call_details, request)
        _begun.get().append(call)
        return call


class EndingUpload(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Callable[[_Details, Any], Awaitable[Any]],
        client_call_details: _Details,
        request_iterator: Any,
    ) -> Any:
        with _ending_what_was_begun():
            return await continuation(client_call_details, request_iterator)


class NotingUpload(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Callable[[_Details, Any], Awaitable[Any]],
        client_call_details: _Details,
        request_iterator: Any,
    ) -> Any:
        call = await continuation(client_call_details, request_iterator)
        _begun.get().append(call)
        return call
