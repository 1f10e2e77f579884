"""Readiness probes. Each raises OSError, or answers False, while the server is not there."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2

_TIMEOUT_SECONDS = 3.0


async def http_ok(host: str, port: int, path: str) -> bool:
    """Tell whether GET answers 200."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
        finally:
            writer.close()
    return line.split(b" ")[1:2] == [b"200"]


async def grpc_serving(address: str) -> bool:
    """Tell whether the standard health service says that the whole server is serving."""
    # A channel of its own: an old one would wait out its own back-off before it sees that the server is there.
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
