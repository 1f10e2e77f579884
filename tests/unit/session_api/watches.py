"""Watches that a test reads news by news."""

import contextlib
from collections.abc import AsyncIterator

from session_api.domain.caller import Caller
from session_api.usecases.queries import SessionQuery
from session_api.usecases.watching import WatchItem, WatchNews
from tests.support.fleet_builders import ORGANIZATION, a_caller
from tests.unit.session_api.fleet import Fleet

MINE = SessionQuery(organization_id=ORGANIZATION)


class Watch:
    """A watch that is under way, and the last place to go on from."""

    def __init__(self, news: AsyncIterator[WatchItem]) -> None:
        self._news = news
        self.token = ""

    async def next(self) -> WatchItem:
        item = await anext(self._news)
        self.token = item.resume_token or self.token
        return item

    async def batch(self) -> list[tuple[WatchNews, str]]:
        """Read up to the next bookmark; return what came of which session."""
        found: list[tuple[WatchNews, str]] = []
        while (item := await self.next()).kind is not WatchNews.BOOKMARK:
            assert item.session is not None
            assert item.resume_token == ""
            found.append((item.kind, str(item.session.id)))
        assert (item.session, self.token) == (None, item.resume_token)
        return found


@contextlib.asynccontextmanager
async def watching(
    fleet: Fleet, query: SessionQuery = MINE, *, token: str = "", caller: Caller | None = None
) -> AsyncIterator[Watch]:
    news = fleet.plane.watching.watch(caller or a_caller(), query, token)
    async with contextlib.aclosing(news):  # type: ignore[type-var]  # it is a generator
        yield Watch(news)


async def token_of(fleet: Fleet, query: SessionQuery = MINE) -> str:
    async with watching(fleet, query) as watch:
        await watch.batch()
        return watch.token


async def refused(fleet: Fleet, query: SessionQuery, token: str) -> None:
    async with watching(fleet, query, token=token) as watch:
        await watch.next()
