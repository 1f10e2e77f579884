"""Mutual TLS between services: who this one is, whom it trusts, and whether it may do without."""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fleetkit.settings import Secret, SettingsReader

log = logging.getLogger(__name__)

_CERTIFICATE, _KEY, _CA = "FLEET_TLS_CERT", "FLEET_TLS_KEY", "FLEET_TLS_CA"
_ALL = (_CERTIFICATE, _KEY, _CA)
_PLAINTEXT = "FLEET_ALLOW_PLAINTEXT"

# What tells that a file was replaced, also through a symbolic link, as Kubernetes replaces a mounted secret.
_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """What a service shows to its peers, and the CA whose certificates it takes from them: PEM texts.

    `certificate` begins with the service's own, the rest of its chain follows. A text that came from a file has its
    path beside it, so that a server finds the one that replaces it.
    """

    certificate: str
    key: Secret
    ca: str
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None

    def faults(self) -> dict[str, str]:
        """Return what is wrong with the texts, by the variable's name."""
        faults = {}
        certificate = _parsed(lambda: x509.load_pem_x509_certificates(self.certificate.encode())[0].public_key())
        if certificate is None:
            faults[_CERTIFICATE] = "holds no PEM certificate"
        key = _parsed(lambda: load_pem_private_key(self.key.reveal().encode(), password=None).public_key())
        if key is None:
            faults[_KEY] = "holds no PEM private key without a password"
        elif certificate is not None and key != certificate:
            faults[_KEY] = f"is not the key of {_CERTIFICATE}"
        if _parsed(lambda: x509.load_pem_x509_certificates(self.ca.encode())) is None:
            faults[_CA] = "holds no PEM certificate"
        return faults

    def read_again(self) -> Self:
        """Return the identity that the files hold now. Raises OSError, ValueError when it cannot be used."""
        now = replace(
            self,
            certificate=_content(self.certificate_file, self.certificate),
            key=Secret(_content(self.key_file, self.key.reveal())),
            ca=_content(self.ca_file, self.ca),
        )
        if faults := now.faults():
            raise ValueError("; ".join(f"{name}: {why}" for name, why in faults.items()))
        return now

    def stamps(self) -> list[_Stamp]:
        """Return what changes when one of the files does."""
        return [_stamp(file) for file in (self.certificate_file, self.key_file, self.ca_file)]


def read_tls(reader: SettingsReader, addresses: Mapping[str, str]) -> TlsIdentity | None:
    """Read FLEET_TLS_CERT, FLEET_TLS_KEY and FLEET_TLS_CA, all or none, and FLEET_ALLOW_PLAINTEXT.

    `addresses` are the gRPC addresses that the service listens on and dials, by variable. Without TLS each must be
    loopback, or plaintext allowed; what is wrong goes to the reader's other faults.
    """
    allowed = reader.flag(_PLAINTEXT, False)
    if any(reader.given(name) for name in _ALL):
        return read_identity(reader)
    exposed = [name for name, address in addresses.items() if address and not is_loopback(address)]
    if exposed and not allowed:
        reader.reject(
            ", ".join(exposed),
            f"plaintext would leave this machine; set {_CERTIFICATE}, {_KEY} and {_CA}, "
            f"or {_PLAINTEXT}=true where the network is trusted, such as in a mesh that encrypts",
        )
    return None


def read_identity(reader: SettingsReader) -> TlsIdentity | None:
    """Read the three variables alone; None when they are not set. What is wrong goes to the reader's other faults."""
    given = [name for name in _ALL if reader.given(name)]
    if not given:
        return None
    if len(given) < len(_ALL):
        for name in _ALL:
            if name not in given:
                reader.reject(name, f"is required beside {' and '.join(given)}")
        return None
    identity = TlsIdentity(
        certificate=reader.text(_CERTIFICATE),
        key=reader.secret(_KEY),
        ca=reader.text(_CA),
        certificate_file=reader.file_of(_CERTIFICATE),
        key_file=reader.file_of(_KEY),
        ca_file=reader.file_of(_CA),
    )
    texts = {_CERTIFICATE: identity.certificate, _KEY: identity.key.reveal(), _CA: identity.ca}
    for name, why in identity.faults().items():
        # One without a text could not be read, which the reader has noted.
        if texts[name]:
            reader.reject(name, why)
    return identity


def is_loopback(address: str) -> bool:
    """Tell whether a gRPC address (`host:port`, with or without a scheme) stays on this machine, by its looks."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel_credentials(identity: TlsIdentity) -> grpc.ChannelCredentials:
    """Return what a client dials with; it keeps this certificate as long as the channel lives."""
    return grpc.ssl_channel_credentials(
        identity.ca.encode(), identity.key.reveal().encode(), identity.certificate.encode()
    )


def server_credentials(identity: TlsIdentity) -> grpc.ServerCredentials:
    """Return what a server listens with: it takes certified clients only, and files that were replaced take effect."""
    return grpc.dynamic_ssl_server_credentials(
        _configuration(identity),
        _Replacements(identity),  # type: ignore[arg-type]  # None means no change, which the stubs leave out
        require_client_authentication=True,
    )


class _Replacements:
    """What gRPC asks, in a thread of its own, before each handshake: the identity's files, when they changed."""

    def __init__(self, identity: TlsIdentity) -> None:
        self._identity = identity
        # Unknown: the files may have changed since the settings were read.
        self._seen: list[_Stamp] | None = None

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        # Taken before the files are read: what changes meanwhile is read at the next handshake.
        stamps = self._identity.stamps()
        if stamps == self._seen:
            return None
        self._seen = stamps
        try:
            return _configuration(self._identity.read_again())
        except (OSError, ValueError) as error:
            # Most likely one file is replaced already, and the others are to follow.
            log.warning("the TLS files cannot be used now, what they held before stays: %s", error)
            return None


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key.reveal().encode(), identity.certificate.encode())
    return grpc.ssl_server_certificate_configuration([pair], identity.ca.encode())


def _parsed(parse: Callable[[], object]) -> object | None:
    try:
        return parse()
    # TypeError: the key has a password.
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _content(file: Path | None, text: str) -> str:
    return text if file is None else file.read_text().strip()


def _stamp(file: Path | None) -> _Stamp:
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
