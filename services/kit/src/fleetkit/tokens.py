"""Signed tokens between the services and for attaching: JWTs (RFC 7519) with EdDSA over Ed25519.

One service signs, everybody verifies: whoever verifies cannot make tokens.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fleetkit.errors import Unauthenticated

_ALGORITHM = "EdDSA"
# Clocks of two machines may differ by this much.
_LEEWAY = timedelta(seconds=30)


class TokenInvalid(Unauthenticated):
    """The token is wrong, has expired, or was made for another audience."""

    reason = "TOKEN_INVALID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says: whom it is for, whom or what it is about, and text claims of its own."""

    audience: str
    subject: str
    expire_time: datetime
    extra: dict[str, str] = field(default_factory=dict)


class TokenSigner:
    """Makes tokens with an Ed25519 private key in PEM. Raises ValueError when the key is not one."""

    def __init__(self, private_key_pem: str) -> None:

        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the token key must be an Ed25519 private key in PEM")
        self._key = key
        self.public_key_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, *, audience: str, subject: str, ttl: timedelta, **extra: str) -> str:
        """Return a token that is good from now for `ttl`."""
        return self.sign_until(audience=audience, subject=subject, expire_time=datetime.now(UTC) + ttl, **extra)

    def sign_until(self, *, audience: str, subject: str, expire_time: datetime, **extra: str) -> str:
        """Return a token that is good until `expire_time`, whole seconds."""
        payload = {**extra, "aud": audience, "sub": subject, "exp": int(expire_time.timestamp())}
        return jwt.encode(payload, self._key, algorithm=_ALGORITHM)


class TokenVerifier:
    """Checks tokens with an Ed25519 public key in PEM."""

    def __init__(self, public_key_pem: str) -> None:
        self._key = public_key_pem

    def verify(self, token: str, *, audience: str) -> Claims:
        """Return what the token says. Raises TokenInvalid, in the same words whatever is wrong."""
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=audience,
                leeway=_LEEWAY,
                options={"require": ["aud", "sub", "exp"]},
            )
        except jwt.PyJWTError as error:
            raise TokenInvalid("The token is wrong, has expired, or was made for something else.") from error
        extra = {name: str(value) for name, value in payload.items() if name not in {"aud", "sub", "exp"}}
        expire_time = datetime.fromtimestamp(payload["exp"], UTC)
        return Claims(audience=audience, subject=str(payload["sub"]), expire_time=expire_time, extra=extra)
