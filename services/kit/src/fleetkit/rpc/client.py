"""A gRPC channel as a block, and calls with a deadline whose failures are typed errors."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from fleetkit.rpc.cancelling import EndingUnary, EndingUpload, NotingUnary, NotingUpload
from fleetkit.rpc.status import from_rpc_error
from fleetkit.rpc.tls import TlsIdentity, channel_credentials

# UNAVAILABLE before the server saw the call is retried by gRPC itself; nothing else is.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}


@contextlib.asynccontextmanager
async def channel(
    address: str, *, retries: bool = True, tls: TlsIdentity | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to `host:port` or `dns:///name:port` within the block; the connection is made at the first call.

    `retries` repeats calls that failed as UNAVAILABLE: only for a server whose methods are all idempotent.
    With `tls`, the server must be certified by its CA for the name that is dialled; without, all goes in plaintext.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_retries", int(retries)),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG if retries else {})),
    ]
    interceptors = [EndingUnary(), EndingUpload(), *aio_client_interceptors(), NotingUnary(), NotingUpload()]
    if tls is None:
        made = grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    else:
        made = grpc.aio.secure_channel(address, channel_credentials(tls), options=options, interceptors=interceptors)
    async with made as opened:
        yield opened


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Turn the failure of a call within the block into the typed error that the server meant."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


def bearer(credential: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a key or a token."""
    return (("authorization", f"Bearer {credential}"),)
