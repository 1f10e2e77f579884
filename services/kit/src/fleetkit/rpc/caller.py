"""Who calls: found out by a service's Authenticator, read by its servicers."""

import contextvars
from collections.abc import Mapping
from typing import Protocol, TypeVar

from fleetkit.errors import Unauthenticated

T = TypeVar("T")

_caller: contextvars.ContextVar[object] = contextvars.ContextVar("caller")


class Authenticator(Protocol):
    """Turns the metadata of a call into whatever the service calls its caller."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        """Return the caller of `method` (`/package.Service/Method`).

        Raises Unauthenticated without good credentials, PermissionDenied when they do not suffice.
        """
        ...


def set_caller(caller: object) -> None:
    """Remember who makes the call that the current task serves."""
    _caller.set(caller)


def current_caller(kind: type[T]) -> T:
    """Return the caller of the call that the current task serves. Raises Unauthenticated when it is none of `kind`."""
    caller = _caller.get(None)
    if not isinstance(caller, kind):
        raise Unauthenticated("This method needs credentials.")
    return caller


def bearer_token(metadata: Mapping[str, str]) -> str:
    """Return the credential of `authorization: Bearer …`. Raises Unauthenticated when there is none."""
    scheme, _, credential = metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("Send credentials as `authorization: Bearer …`.")
    return credential
