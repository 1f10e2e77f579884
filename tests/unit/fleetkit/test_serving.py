"""A server as a block: its health from the start to the end."""

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2

from fleetkit.rpc.server import serving

_STATES = health_pb2.HealthCheckResponse


class Nobody:
    """Knows no caller; health needs none."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        raise AssertionError("health checks need no credentials")


async def health_of(channel: grpc.aio.Channel) -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer: health_pb2.HealthCheckResponse = await check(health_pb2.HealthCheckRequest(), timeout=5)
    return answer.status


async def test_a_server_that_leaves_says_so_and_still_answers() -> None:
    async with (
        serving("127.0.0.1:0", [], authenticator=Nobody()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert await health_of(channel) == _STATES.SERVING
        await server.leave()
        assert await health_of(channel) == _STATES.NOT_SERVING
