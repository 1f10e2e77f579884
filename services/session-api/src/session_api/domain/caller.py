"""Who calls, and what an API key allows."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from session_api.domain.session import OrganizationId


class Scope(StrEnum):
    """What a key may do. MEMBER: sessions of its organization. SERVICE: all organizations'. NODE: report as a node."""

    MEMBER = "MEMBER"
    SERVICE = "SERVICE"
    NODE = "NODE"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The holder of a good API key."""

    organization_id: OrganizationId
    scope: Scope
    # The operator's cap on the lifetime of this organization's sessions; None: the general one.
    max_timeout: timedelta | None = None

    @property
    def visible_organization(self) -> OrganizationId | None:
        """The organization whose resources this caller sees; None: every one's."""
        return None if self.scope is Scope.SERVICE else self.organization_id


def new_api_key() -> str:
    """Return a fresh key: 256 random bits behind a prefix that secret scanners can know."""
    return f"bf_{secrets.token_urlsafe(32)}"


def api_key_digest(key: str) -> bytes:
    """Return what is stored of a key. It is random and long, so that one SHA-256 suffices."""
    return hashlib.sha256(key.encode()).digest()
