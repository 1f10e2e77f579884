"""Watching sessions, over restarts of the fleet."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from browserfleet.client.errors import FleetError, FleetUnavailable
from browserfleet.client.session import Reach, Session
from browserfleet.client.states import WatchKind
from browserfleet.session.v1 import session_service_pb2

_KINDS = session_service_pb2.WatchSessionsResponse.Type.items()


async def watching(
    reach: Reach, matching: session_service_pb2.SessionFilter
) -> AsyncGenerator[tuple[WatchKind, Session], None]:
    """Yield what a watch says of sessions, going on where it broke. Raises FleetError."""
    request = session_service_pb2.WatchSessionsRequest(filter=matching)
    heard, failures = False, 0
    while True:
        try:
            async with contextlib.aclosing(reach.front_door.watch(request)) as responses:
                async for response in responses:
                    heard, failures = True, 0
                    request.resume_token = response.resume_token or request.resume_token
                    if response.HasField("session"):
                        yield WatchKind.of(response.type, _KINDS, prefix="TYPE_"), Session(response.session, reach)
            raise FleetUnavailable("the fleet ended the watch", reason="WATCH_ENDED")
        except FleetUnavailable as error:
            failures = min(failures + 1, reach.retries.attempts)
            # A fleet that has answered comes back; one that never did may not be there at all.
            if not heard and failures == reach.retries.attempts:
                raise
            await asyncio.sleep(reach.retries.wait(failures, error.retry_after))
        except FleetError as error:
            if error.reason != "RESUME_TOKEN_EXPIRED" or not request.resume_token:
                raise
            request.resume_token = ""
