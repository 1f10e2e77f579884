"""Asks a gRPC server for its health: `python -m fleetkit.rpc.health_probe host:port` exits 0 when it is serving."""

import sys

import grpc
from grpc_health.v1 import health_pb2


def main() -> int:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError:
            return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
