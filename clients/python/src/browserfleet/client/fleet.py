"""The way in: a fleet of browsers."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from browserfleet.browser.v1 import browser_pb2
from browserfleet.client.browsers import Browsers
from browserfleet.client.calls import Calls, Retries, open_channel
from browserfleet.client.durations import Span, to_duration
from browserfleet.client.errors import FleetError, FleetUnavailable, InvalidRequest
from browserfleet.client.finishing import finish
from browserfleet.client.front_door import FrontDoor
from browserfleet.client.session import Reach, Session, ended
from browserfleet.client.settings import FleetSettings
from browserfleet.client.states import SessionState
from browserfleet.client.transfer import open_http
from browserfleet.session.v1 import session_pb2, session_service_pb2

# Leaving a session's block is not held up longer than this, also when it is left by a cancel.
CLOSE_TIMEOUT = timedelta(seconds=10)


class Fleet:
    """A fleet as one caller sees it: `async with Fleet.from_env() as fleet`.

    Usable inside the block, from one event loop, by any number of tasks at once. It owns one gRPC channel, one HTTP
    client and (from the first attach) one Playwright; all of them end with the block, the sessions do not.
    """

    def __init__(self, settings: FleetSettings, *, retries: Retries | None = None) -> None:
        self._settings = settings
        self._retries = retries or Retries()
        self._exits = contextlib.AsyncExitStack()
        self._reach: Reach | None = None

    @classmethod
    def from_env(cls) -> Self:
        """Read FLEET_URL, FLEET_GRPC and FLEET_API_KEY (or FLEET_API_KEY_FILE); raises ConfigurationInvalid."""
        return cls(FleetSettings.from_env(os.environ))

    async def __aenter__(self) -> Self:
        channel = await self._exits.enter_async_context(open_channel(self._settings.grpc))
        http = await self._exits.enter_async_context(open_http())
        browsers = Browsers(self._settings)
        self._exits.push_async_callback(browsers.close)
        calls = Calls(api_key=self._settings.api_key, retries=self._retries)
        self._reach = Reach(front_door=FrontDoor(channel, calls), browsers=browsers, http=http, retries=self._retries)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reach = None
        await self._exits.aclose()

    def session(
        self, *, timeout: Span = "60m", browser: str = "chrome", keep: bool = False, request_id: str | None = None
    ) -> "SessionBlock":
        """Return a block that makes a session: `async with fleet.session(timeout="30m") as s`.

        `timeout` is the lifetime in whole minutes from 5 to 1440, as a timedelta, a string or a number of minutes;
        `browser` is "chrome" or "msedge". Leaving the block always closes the session, also on an error or a cancel,
        and takes at most 10 s for it; `keep=True` leaves it open until its deadline. `request_id` makes a create that
        another process repeats name the same session; each block makes its own otherwise.
        Entering raises InvalidRequest, NoCapableNode, FleetFull, BrowserStartFailed, FleetUnavailable.
        """
        spec = browser_pb2.BrowserSpec(browser_type=_browser_type(browser))
        request = session_service_pb2.CreateSessionRequest(
            request_id=request_id or secrets.token_urlsafe(18), spec=spec, timeout=to_duration(timeout)
        )
        return SessionBlock(self._open, request, keep=keep)

    async def attach(self, session_id: str) -> Session:
        """Return an open session by its ID. As a block, leaving it detaches and does not close.

        Raises SessionNotFound (also for another organization's session) and SessionEnded.
        """
        session = await self.get(session_id)
        if session.state.final or session.state is SessionState.CLOSING:
            raise ended(session)
        return session

    async def get(self, session_id: str) -> Session:
        """Return a session, open or ended; raises SessionNotFound."""
        reach = self._open()
        return Session(await reach.front_door.get(session_id), reach)

    async def list(self, *, states: Sequence[SessionState | str] = (), page_size: int = 50) -> AsyncIterator[Session]:
        """Yield the organization's sessions, newest first, fetching `page_size` at a time.

        `states` narrows it, for example to `["RUNNING"]`; raises ValueError for a state that does not exist.
        """
        reach = self._open()
        numbers = [session_pb2.Session.State.Value(f"STATE_{state}") for state in states]
        async for message in reach.front_door.sessions(numbers, page_size):
            yield Session(message, reach)

    async def close(self, session_id: str) -> Session:
        """End a session at once, for everybody, and return it; closing an ended one changes nothing.

        Raises SessionNotFound.
        """
        reach = self._open()
        return Session(await reach.front_door.close(session_id), reach)

    def _open(self) -> Reach:
        if self._reach is None:
            raise RuntimeError("a Fleet is used inside its block: async with Fleet.from_env() as fleet")
        return self._reach


class SessionBlock:
    """Makes a session at its start and closes it at its end; for one use."""

    def __init__(
        self, reach: Callable[[], Reach], request: session_service_pb2.CreateSessionRequest, *, keep: bool
    ) -> None:
        self._reach = reach
        self._request = request
        self._keep = keep
        self._session: Session | None = None

    async def __aenter__(self) -> Session:
        reach = self._reach()
        creation = asyncio.ensure_future(reach.front_door.create(self._request))
        try:
            message = await asyncio.shield(creation)
        except asyncio.CancelledError:
            # The fleet may have the session already, and nobody else knows its ID.
            with contextlib.suppress(FleetError, TimeoutError):
                await finish(_abandon(creation, reach), within=CLOSE_TIMEOUT)
            raise
        self._session = Session(message, reach)
        if self._session.state.final:
            raise ended(self._session)
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        if session is None:
            return
        if self._keep:
            await session.detach()
            return
        try:
            await finish(session.close(), within=CLOSE_TIMEOUT)
        except (FleetError, TimeoutError) as fault:
            unclosed = f"session {session.id} could not be closed and stays open until its deadline: {fault}"
            if error is None:
                raise FleetUnavailable(unclosed, reason="CLOSE_FAILED") from fault
            # What the block raised matters more.
            error.add_note(unclosed)


async def _abandon(creation: asyncio.Future[session_pb2.Session], reach: Reach) -> None:
    await reach.front_door.close((await creation).id)


def _browser_type(name: str) -> "browser_pb2.BrowserType.ValueType":
    try:
        return browser_pb2.BrowserType.Value(f"BROWSER_TYPE_{name.upper()}")
    except ValueError:
        fault = f"there is no browser {name!r}: chrome or msedge"
        error = InvalidRequest(fault, reason="INVALID_REQUEST")
        error.fields = {"spec.browser_type": fault}
        raise error from None
