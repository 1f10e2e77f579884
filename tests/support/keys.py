"""Ed25519 keys for tokens."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fleetkit.tokens import TokenSigner


def a_private_key() -> str:
    """Return a new private key in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def the_signer() -> TokenSigner:
    """Return the signer that tests share."""
    return TokenSigner(a_private_key())
