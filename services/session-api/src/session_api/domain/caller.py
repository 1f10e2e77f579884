"""Who calls, and what an API key allows."""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from session_api.domain.errors import ApiKeyRevoked
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Limits

_SHOWN_CHARACTERS = 10


class Scope(StrEnum):
    """What a key may do.

    MEMBER: sessions of its organization. ADMIN: also that organization's keys and usage. SERVICE: everything of every
    organization, and the nodes. NODE: report as a node.
    """

    MEMBER = "MEMBER"
    ADMIN = "ADMIN"
    SERVICE = "SERVICE"
    NODE = "NODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The holder of a good API key."""

    organization_id: OrganizationId
    scope: Scope
    limits: Limits = field(default_factory=Limits)

    @property
    def visible_organization(self) -> OrganizationId | None:
        """The organization whose resources this caller sees; None: every one's."""
        return None if self.scope is Scope.SERVICE else self.organization_id

    def may_give(self, scope: Scope) -> bool:
        """Whether the caller may make a key of this scope."""
        return self.scope is Scope.SERVICE or (self.scope is Scope.ADMIN and scope in {Scope.MEMBER, Scope.ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the fleet keeps it: a digest of its secret, and what people need to recognize it."""

    id: KeyId
    organization_id: OrganizationId
    scope: Scope
    # First characters of the secret.
    prefix: str
    display_name: str
    create_time: datetime
    # To the minute; None: never.
    last_use_time: datetime | None = None
    # The key is good before this instant; None: for ever.
    expire_time: datetime | None = None

    def revoked(self, *, now: datetime) -> Self:
        """Return the key as it is no good from now on; one that is no good already stays as it is."""
        return self.expiring(at=now)

    def expiring(self, *, at: datetime) -> Self:
        """Return the key with an end, never later than the one that it has."""
        return replace(self, expire_time=min(at, self.expire_time or at))

    def require_good(self, *, now: datetime) -> None:
        """Raise ApiKeyRevoked when the key has ended."""
        if self.expire_time is not None and self.expire_time <= now:
            raise ApiKeyRevoked("The API key has ended.", api_key_id=self.id)


def new_secret() -> str:
    """Return a fresh secret: 256 random bits behind a prefix that secret scanners can know."""
    return f"bf_{secrets.token_urlsafe(32)}"


def shown_prefix(secret: str) -> str:
    """Return what of a secret may be shown: 7 of its 43 random characters."""
    return secret[:_SHOWN_CHARACTERS]


def secret_digest(secret: str) -> bytes:
    """Return what is stored of a secret. It is random and long, so that one SHA-256 suffices."""
    return hashlib.sha256(secret.encode()).digest()
