"""Secrets that are stored for a while: sealed with AES-256-GCM, so that the store alone gives nothing away."""

import base64
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
# Says how what follows was sealed.
_VERSION = "1."


class NotSealedHere(Exception):
    """The text was sealed under another secret or for another purpose, or was changed."""


class SecretBox:
    """Seals and opens under keys of its own, which are derived from a secret that its holders share."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(_derived(secret, b"browserfleet sealing"))
        self._mac_key = _derived(secret, b"browserfleet fingerprints")

    def seal(self, secret: bytes, *, purpose: str) -> str:
        """Return the secret as ASCII text that only `open` with the same purpose reads, each time another one."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret, purpose.encode())
        return _VERSION + base64.b64encode(sealed).decode()

    def open(self, sealed: str, *, purpose: str) -> bytes:
        """Return what was sealed. Raises NotSealedHere."""
        try:
            data = base64.b64decode(sealed.removeprefix(_VERSION), validate=True)
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], purpose.encode())
        except (ValueError, InvalidTag) as error:
            raise NotSealedHere("The secret was sealed under another key.") from error

    def fingerprint(self, secret: bytes) -> str:
        """Return what tells this secret from others and, without the key, nothing else: also guesses fail."""
        return hmac.new(self._mac_key, secret, hashlib.sha256).hexdigest()


def _derived(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
