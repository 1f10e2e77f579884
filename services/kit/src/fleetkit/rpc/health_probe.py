"""Asks a gRPC server for its health: `python -m fleetkit.rpc.health_probe host:port` exits 0 when it is serving.

It runs beside the server, with the server's own FLEET_TLS variables where it has some.
"""

import os
import sys

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2

from fleetkit.rpc.tls import TlsIdentity, channel_credentials, read_identity
from fleetkit.settings import SettingsReader


def main() -> int:
    reader = SettingsReader(os.environ, own_prefix="FLEET_TLS_")
    tls = read_identity(reader)
    reader.finish()
    return 0 if is_serving(sys.argv[1], tls=tls) else 1


def is_serving(address: str, *, tls: TlsIdentity | None) -> bool:
    """Tell whether the server at `host:port` says that it is serving, within 3 s."""
    with _channel(address, tls) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, tls: TlsIdentity | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address)
    # The probe dials loopback, which a certificate need not name; it holds the server's own, and expects that name.
    name = _first_name(tls)
    options = [("grpc.ssl_target_name_override", name)] if name else []
    return grpc.secure_channel(address, channel_credentials(tls), options=options)


def _first_name(tls: TlsIdentity) -> str | None:
    certificate = x509.load_pem_x509_certificates(tls.certificate.encode())[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main())
