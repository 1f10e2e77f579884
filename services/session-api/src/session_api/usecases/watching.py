"""Watching sessions: what is there, then every change."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from fleetkit.clock import Clock
from fleetkit.errors import InvalidArgument
from fleetkit.paging import MAX_PAGE_SIZE, PageRequest, PageTokens
from session_api.domain.caller import Caller
from session_api.domain.errors import InvalidResumeToken, ResumeTokenExpired, TooManyWatches
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import Session
from session_api.usecases.changes import ChangeHub
from session_api.usecases.ports import Database
from session_api.usecases.queries import SessionOrder, SessionQuery

_BOOKMARK_INTERVAL = timedelta(seconds=15)
_TOKEN_TTL = timedelta(hours=24)
_MOST_WATCHES = 100


class WatchNews(StrEnum):
    """What a piece of news is."""

    SNAPSHOT = "SNAPSHOT"
    CHANGED = "CHANGED"
    LEFT = "LEFT"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchItem:
    """A piece of news. `resume_token` is set when everything before it was sent."""

    kind: WatchNews
    session: Session | None = None
    resume_token: str = ""


class _Known:
    """What a watch began with. The hub may have read a change before that, and tell of it only afterwards."""

    def __init__(self) -> None:
        self._sequences: dict[SessionId, int] = {}

    def note(self, session: Session) -> None:
        self._sequences[session.id] = session.sequence

    def newer(self, sessions: Iterable[Session]) -> Iterator[Session]:
        """Return the sessions without those that are older than what the watcher knows."""
        for session in sessions:
            if session.sequence >= self._sequences.get(session.id, 0):
                # From here on the hub's news of it are in order.
                self._sequences.pop(session.id, None)
                yield session


class Watching:
    """Serves watches of this replica."""

    def __init__(self, *, database: Database, hub: ChangeHub, clock: Clock, tokens: PageTokens) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._tokens = tokens
        self._watches: Counter[OrganizationId] = Counter()

    async def watch(self, caller: Caller, query: SessionQuery, resume_token: str) -> AsyncIterator[WatchItem]:
        """Send news until the caller leaves.

        Raises InvalidResumeToken, ResumeTokenExpired, TooManyWatches, and ServiceStopping when this replica stops.
        """
        resumed = self._resumed(query, resume_token) if resume_token else None
        with self._counted(caller.organization_id):
            async with self._hub.listening() as listener:
                # Before what is there is read: a change between the two comes twice, and none is lost.
                begun, known = listener.position, _Known()
                if resumed is None:
                    async for session in self._present(query):
                        known.note(session)
                        yield WatchItem(kind=WatchNews.SNAPSHOT, session=session)
                else:
                    async with self._database.single() as tx:
                        missed = await tx.sessions.changes(since=resumed)
                    for item in _news(query, missed.sessions):
                        yield item
                    for session in missed.sessions:
                        known.note(session)
                yield self._bookmark(query, begun)
                while True:
                    # Also without news the watcher hears of us in time.
                    changes = await listener.take(within=_BOOKMARK_INTERVAL)
                    for item in _news(query, known.newer(changes.sessions)):
                        yield item
                    yield self._bookmark(query, changes.position)

    async def _present(self, query: SessionQuery) -> AsyncIterator[Session]:
        # Oldest first: sessions that are created meanwhile come at the end, and are not passed over.
        ordered = replace(query, order=SessionOrder.OLDEST, due_before=None)
        page = PageRequest(size=MAX_PAGE_SIZE)
        while True:
            async with self._database.single() as tx:
                found = await tx.sessions.page(ordered, page)
            for session in found.items:
                yield session
            if found.next_after is None:
                return
            page = PageRequest(size=MAX_PAGE_SIZE, after=found.next_after)

    @contextlib.contextmanager
    def _counted(self, organization_id: OrganizationId) -> Iterator[None]:
        if self._watches[organization_id] >= _MOST_WATCHES:
            raise TooManyWatches(f"The organization may watch {_MOST_WATCHES} times at once.")
        self._watches[organization_id] += 1
        try:
            yield
        finally:
            self._watches[organization_id] -= 1

    def _bookmark(self, query: SessionQuery, position: int) -> WatchItem:
        text = json.dumps([position, self._clock.now().isoformat()])
        return WatchItem(kind=WatchNews.BOOKMARK, resume_token=self._tokens.sign(text, query=_key(query)))

    def _resumed(self, query: SessionQuery, token: str) -> int:
        try:
            position, issued = json.loads(self._tokens.verified(token, query=_key(query)))
        except InvalidArgument as error:
            raise InvalidResumeToken("The resume token is not one of ours, or belongs to another watch.") from error
        if self._clock.now() - datetime.fromisoformat(issued) > _TOKEN_TTL:
            raise ResumeTokenExpired("The resume token is too old: watch again without it.")
        return int(position)


def _key(query: SessionQuery) -> str:
    return f"watch {query}"


def _news(query: SessionQuery, sessions: Iterable[Session]) -> Iterator[WatchItem]:
    for session in sessions:
        if query.organization_id not in {None, session.organization_id}:
            continue
        kind = WatchNews.CHANGED if query.matches(session) else WatchNews.LEFT
        yield WatchItem(kind=kind, session=session)
