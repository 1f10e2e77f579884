"""A session for the length of a block."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from browserfleet.client.artifact import pauses
from browserfleet.client.calls import CREATE_TIMEOUT
from browserfleet.client.errors import (
    BrowserStartFailed,
    CallTimedOut,
    FleetError,
    FleetUnavailable,
    SessionNotReady,
)
from browserfleet.client.finishing import finish, finish_after
from browserfleet.client.session import Reach, Session, ended
from browserfleet.client.states import SessionState
from browserfleet.session.v1 import session_service_pb2

# Leaving a session's block is not held up longer than this, also when it is left by a cancel.
CLOSE_TIMEOUT = timedelta(seconds=10)
# Time for the fleet to answer a create that is not to wait for a browser.
_LEAST_TIMEOUT = timedelta(seconds=2)

_NOT_UP_YET = (SessionState.QUEUED, SessionState.STARTING)


class SessionBlock:
    """Makes a session at its start and closes it at its end; for one use."""

    def __init__(
        self,
        reach: Callable[[], Reach],
        request: session_service_pb2.CreateSessionRequest,
        *,
        keep: bool,
        wait: timedelta,
    ) -> None:
        self._reach = reach
        self._request = request
        self._keep = keep
        self._wait = wait
        self._session: Session | None = None

    async def __aenter__(self) -> Session:
        reach = self._reach()
        try:
            session = await self._attachable(reach)
        except BaseException as error:
            # The fleet has the session, or after a cancel may have it, and nobody else knows its ID.
            if self._session is not None or isinstance(error, asyncio.CancelledError):
                with contextlib.suppress(FleetError, TimeoutError):
                    await finish(self._abandon(reach), within=CLOSE_TIMEOUT)
            raise
        if session.state.final or session.state is SessionState.CLOSING:
            raise ended(session)
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        if session is None:
            return
        if self._keep:
            await session.detach()
            return
        await finish_after(
            error,
            session.close(),
            within=CLOSE_TIMEOUT,
            otherwise=f"session {session.id} could not be closed and stays open until its deadline",
            reason="CLOSE_FAILED",
        )

    async def _attachable(self, reach: Reach) -> Session:
        """Return the session once it is up or has ended, asking as often as it takes within `wait`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._wait.total_seconds()
        for pause in pauses():
            left = timedelta(seconds=deadline - clock())
            session = await self._create(reach, min(max(left, _LEAST_TIMEOUT), CREATE_TIMEOUT))
            if session.state not in _NOT_UP_YET:
                break
            if clock() + pause >= deadline:
                raise _not_ready(session, self._wait)
            await asyncio.sleep(pause)
        return session

    async def _create(self, reach: Reach, timeout: timedelta) -> Session:
        """Create the session, or find it under its request ID; it is the one that was heard of last if none answers."""
        try:
            self._session = Session(await reach.front_door.create(self._request, timeout=timeout), reach)
        except (FleetUnavailable, CallTimedOut) as error:
            # A fleet that restarts keeps its queue.
            if self._session is None or isinstance(error, BrowserStartFailed):
                raise
        return self._session

    async def _abandon(self, reach: Reach) -> None:
        session = self._session or await self._create(reach, _LEAST_TIMEOUT)
        await reach.front_door.close(session.id)


def _not_ready(session: Session, wait: timedelta) -> SessionNotReady:
    place = f", in place {session.queue_position} of the queue" if session.queue_position is not None else ""
    why = f": {session.queue_message}" if session.queue_message else ""
    return SessionNotReady(
        f"session {session.id} is still {session.state} after {wait.total_seconds():g} s{place}{why}",
        state=session.state,
        queue_position=session.queue_position,
    )
