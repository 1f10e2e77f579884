"""A gRPC server as a block: health, reflection, tracing and the serving interceptor included."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Set
from dataclasses import dataclass
from datetime import timedelta

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from fleetkit.rpc.caller import Authenticator
from fleetkit.rpc.interceptors import MAX_UNARY_TIME, ServingInterceptor
from fleetkit.rpc.tls import TlsIdentity, server_credentials

# Larger than a 1 MiB upload chunk and a full page of resources.
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_HEALTH_PREFIX = f"/{health.SERVICE_NAME}/"
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    # Our clients ping every 30 s, also without a call; the default of 300 s would end their connections.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 3_600_000),
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer, how to add it to a server (`add_…_to_server`), and its full name.

    `untraced` names methods that make no span: they are called all the time, and no trace of them tells anything.
    """

    name: str
    add: Callable[[grpc.aio.Server], None]
    untraced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs."""

    port: int
    _checks: health.aio.HealthServicer

    async def leave(self) -> None:
        """Say NOT_SERVING from now on, so that nobody new comes; calls are still served."""
        await self._checks.enter_graceful_shutdown()


@contextlib.asynccontextmanager
async def serving(
    address: str,
    services: list[Service],
    *,
    authenticator: Authenticator,
    grace: timedelta = timedelta(seconds=10),
    unary_limit: timedelta = MAX_UNARY_TIME,
    tls: TlsIdentity | None = None,
) -> AsyncIterator[Serving]:
    """Serve on `host:port` (port 0: any free one) within the block.

    With `tls`, only clients that its CA certified are served, health included; without, the port speaks plaintext.
    At its end health says NOT_SERVING, new calls are refused, running ones get `grace`. Raises OSError when the
    address is taken.
    """
    quiet = {f"/{service.name}/{method}" for service in services for method in service.untraced}
    tracing = aio_server_interceptor(filter_=lambda call: _is_traced(call.method, quiet))
    server = grpc.aio.server(
        interceptors=[tracing, ServingInterceptor(authenticator, unary_limit=unary_limit)], options=_OPTIONS
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [service.name for service in services]
    for service in services:
        service.add(server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(tls))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    await server.start()
    for name in ["", *names]:
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield Serving(port, checks)
    finally:
        await asyncio.shield(_stop(server, checks, grace))


def _is_traced(method: str, quiet: Set[str]) -> bool:
    return method not in quiet and not method.startswith(_HEALTH_PREFIX)


async def _stop(server: grpc.aio.Server, checks: health.aio.HealthServicer, grace: timedelta) -> None:
    await checks.enter_graceful_shutdown()
    await server.stop(grace.total_seconds())
