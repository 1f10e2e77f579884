"""What the front door refuses: an attempt, the code and the reason that it ends with, and a server that goes on."""

from collections.abc import Awaitable, Callable

import grpc
import pytest

from browserfleet.session.v1 import session_pb2
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import reason_of

Attempt = Callable[[Entry], Awaitable[object]]
# A code, and a reason unless gRPC itself refuses.
Refusal = tuple[str, str | None]

INVALID: Refusal = ("INVALID_ARGUMENT", "INVALID_REQUEST")
INVALID_PAGE_TOKEN: Refusal = ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
NO_KEY: Refusal = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
SCOPE: Refusal = ("PERMISSION_DENIED", "SCOPE_MISSING")
NOT_FOUND: Refusal = ("NOT_FOUND", "SESSION_NOT_FOUND")
NOT_OPEN: Refusal = ("FAILED_PRECONDITION", "SESSION_NOT_OPEN")


async def refusal_of(attempt: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Return how an attempt was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await attempt
    return refusal.value


async def see_refused(entry: Entry, attempt: Attempt, expected: Refusal) -> None:
    """Make an attempt, and see it refused as expected without harm to anybody."""
    before = entry.fleet.database.sessions()
    refusal = await refusal_of(attempt(entry))
    assert (refusal.code().name, reason_of(refusal)) == expected
    assert entry.fleet.database.sessions() == before
    assert (await entry.get(entry.running)).state == session_pb2.Session.STATE_RUNNING
