"""The way in: a fleet of browsers."""

import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

from browserfleet.client.browsers import Browsers
from browserfleet.client.calls import Calls, Retries, open_channel
from browserfleet.client.durations import Span, to_duration, to_timedelta
from browserfleet.client.front_door import FrontDoor
from browserfleet.client.options import BrowserOptions, spec_message
from browserfleet.client.session import Reach, Session, ended
from browserfleet.client.session_block import SessionBlock
from browserfleet.client.settings import FleetSettings
from browserfleet.client.states import SessionState, WatchKind
from browserfleet.client.transfer import open_http
from browserfleet.client.watching import watching
from browserfleet.session.v1 import session_pb2, session_service_pb2


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
        settings = self._settings
        channel = await self._exits.enter_async_context(
            open_channel(settings.grpc, tls=settings.tls, allow_plaintext=settings.allow_plaintext)
        )
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
        self,
        *,
        timeout: Span = "60m",
        browser: str = "chrome",
        labels: Mapping[str, str] | None = None,
        idle_timeout: Span | None = None,
        queue_timeout: Span | None = None,
        wait: Span = "5m",
        keep: bool = False,
        request_id: str | None = None,
        **options: Unpack[BrowserOptions],
    ) -> SessionBlock:
        """Return a block that makes a session: `async with fleet.session(timeout="30m") as s`.

        `timeout` is the lifetime in whole minutes from 5 to 1440, as a timedelta, a string or a number of minutes;
        `idle_timeout` ends it sooner when nothing happens for that long. `browser` is "chrome" or "msedge"; `labels`
        are for finding the session again. What else is asked of the browser is in BrowserOptions, such as
        `viewport=(1280, 720)`, `locale="de-DE"` or `proxy_location="US"`; `session.receipts` tell what became of it.
        When the fleet is full, the session waits in its queue for at most `queue_timeout` (the operator's default; 0
        does not wait). `wait` bounds how long entering takes in all: a session that is not up by then is closed.
        Leaving the block always closes the session, also on an error or a cancel, and takes at most 10 s for it;
        `keep=True` leaves it open until its deadline. `request_id` makes a create that another process repeats name
        the same session; each block makes its own otherwise.
        Entering raises InvalidRequest, NoCapableNode, OptionUnavailable, ProxyUnreachable, FleetFull, QuotaExceeded,
        QueueTimedOut, SessionNotReady, BrowserStartFailed, SessionEnded, FleetUnavailable.
        """
        request = session_service_pb2.CreateSessionRequest(
            request_id=request_id or secrets.token_urlsafe(18),
            spec=spec_message(browser, options),
            timeout=to_duration(timeout),
            labels=labels,
            idle_timeout=None if idle_timeout is None else to_duration(idle_timeout),
            queue_timeout=None if queue_timeout is None else to_duration(queue_timeout),
        )
        return SessionBlock(self._open, request, keep=keep, wait=to_timedelta(wait))

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

    async def list(
        self,
        *,
        states: Sequence[SessionState | str] = (),
        labels: Mapping[str, str] | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[Session]:
        """Yield the organization's sessions, newest first, fetching `page_size` at a time.

        `states` narrows it, for example to `["RUNNING"]`, and so do `labels`, which a session must all have. Raises
        ValueError for a state that does not exist.
        """
        reach = self._open()
        async for message in reach.front_door.sessions(_matching(states, labels), page_size):
            yield Session(message, reach)

    def watch(
        self, *, states: Sequence[SessionState | str] = (), labels: Mapping[str, str] | None = None
    ) -> AsyncGenerator[tuple[WatchKind, Session], None]:
        """Yield the sessions that match, as SNAPSHOT, then every change of them: `async for kind, session in …`.

        `states` and `labels` narrow it as they do for `list`; LEFT is a session that does not match any more. It goes
        on until the loop is left, also over restarts of the fleet. After one that took too long it begins anew with
        SNAPSHOTs, which replace what was known before. Raises ValueError for a state that does not exist,
        FleetUnavailable when no fleet answers at first, LimitReached.
        """
        return watching(self._open(), _matching(states, labels))

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


def _matching(
    states: Sequence[SessionState | str], labels: Mapping[str, str] | None
) -> session_service_pb2.SessionFilter:
    numbers = [session_pb2.Session.State.Value(f"STATE_{state}") for state in states]
    return session_service_pb2.SessionFilter(states=numbers, labels=labels)
