"""Calls to the fleet's gRPC front door: the key, a deadline, retries of what is safe, and typed errors."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import grpc

from browserfleet.client.errors import BrowserStartFailed, ConfigurationInvalid, FleetUnavailable
from browserfleet.client.settings import TlsSettings, is_loopback
from browserfleet.client.status import from_rpc_error

Request = TypeVar("Request")
Response = TypeVar("Response")

UNARY_TIMEOUT = timedelta(seconds=10)
# A create waits for a browser.
CREATE_TIMEOUT = timedelta(seconds=45)

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a call that is safe to repeat is repeated while the fleet answers UNAVAILABLE.

    The wait before attempt n+1 is a random part of `first_wait` × `factor`ⁿ⁻¹, or the fleet's `retry_after` where that
    is longer; all attempts share the call's deadline.
    """

    attempts: int = 4
    first_wait: timedelta = timedelta(seconds=0.2)
    factor: float = 3.0
    # Draws the part of a wait, from 0 to 1.
    draw: Callable[[], float] = random.random

    def wait(self, attempt: int, retry_after: timedelta | None = None) -> float:
        """Return the seconds to wait after this attempt, counted from 1."""
        longest = self.first_wait.total_seconds() * self.factor ** (attempt - 1)
        asked_for = retry_after.total_seconds() if retry_after else 0.0
        return max(asked_for, longest * (0.5 + self.draw() / 2))


def open_channel(address: str, *, tls: TlsSettings | None = None, allow_plaintext: bool = False) -> grpc.aio.Channel:
    """Return a channel to `host:port`; the connection is made at the first call.

    Raises ConfigurationInvalid for plaintext to another machine, unless that is allowed: each call carries the key.
    """
    options = list(_CHANNEL_OPTIONS)
    if tls is not None:
        return grpc.aio.secure_channel(address, _credentials(tls), options=options)
    if not allow_plaintext and not is_loopback(address.rpartition(":")[0]):
        raise ConfigurationInvalid([f"{address} is another machine, and the key would travel in plaintext: give tls"])
    return grpc.aio.insecure_channel(address, options=options)


def _credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    certificate, key = (text.encode() if text else None for text in (tls.certificate, tls.key))
    return grpc.ssl_channel_credentials(tls.ca.encode(), key, certificate)


def _trace_injector() -> Callable[[dict[str, str]], object]:
    """Return what adds the headers of the caller's trace; it adds none where OpenTelemetry is not installed."""
    try:
        from opentelemetry.propagate import inject
    except ImportError:
        return lambda _: None
    return inject


class Calls:
    """Makes the calls of one client: as whom, how long, how often."""

    def __init__(self, *, api_key: str, retries: Retries) -> None:
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._retries = retries
        self._inject = _trace_injector()

    async def send(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        *,
        timeout: timedelta = UNARY_TIMEOUT,
        repeatable: bool,
    ) -> Response:
        """Return the answer, or raise the fleet's typed error.

        With `repeatable` the call is sent again after UNAVAILABLE, within the one deadline of `timeout`. A browser
        that did not start is not asked for again: the same request would only name the same failed session.
        """
        metadata = self._headers()
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout.total_seconds()
        attempt = 1
        while True:
            try:
                return await method(request, timeout=max(0.001, deadline - clock()), metadata=metadata)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                wait = self._retries.wait(attempt, error.retry_after)
                again = isinstance(error, FleetUnavailable) and not isinstance(error, BrowserStartFailed)
                if not (repeatable and again and attempt < self._retries.attempts and clock() + wait < deadline):
                    raise error from rpc_error
            await asyncio.sleep(wait)
            attempt += 1

    async def stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[Request, Response]", request: Request
    ) -> AsyncGenerator[Response, None]:
        """Yield the messages of a call that has no deadline, or raise the fleet's typed error.

        Closing this generator ends the call.
        """
        call = method(request, metadata=self._headers())
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    def _headers(self) -> tuple[tuple[str, str], ...]:
        trace: dict[str, str] = {}
        self._inject(trace)
        return (*self._metadata, *trace.items())
