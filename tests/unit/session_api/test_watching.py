"""Watches: what is there, then every change, until somebody leaves."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.browser import BrowserType
from session_api.domain.caller import Scope
from session_api.domain.errors import InvalidResumeToken, ResumeTokenExpired, ServiceStopping, TooManyWatches
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from session_api.usecases.watching import WatchNews
from tests.support.fleet_builders import NOON, OTHER_ORGANIZATION, a_caller, a_session
from tests.unit.session_api.fleet import Fleet, a_request
from tests.unit.session_api.virtual_time import elapse, settled
from tests.unit.session_api.watches import MINE, refused, token_of, watching

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_RUNNING = replace(MINE, states=(SessionState.RUNNING,))
_OTHER = a_caller(organization_id=OTHER_ORGANIZATION)


# ---- what is there


async def test_a_watch_begins_with_what_is_there_oldest_first_and_a_bookmark(fleet: Fleet) -> None:
    await fleet.with_node()
    first, second = await fleet.create(), await fleet.create()
    async with watching(fleet) as watch:
        assert await watch.batch() == [(WatchNews.SNAPSHOT, first.id), (WatchNews.SNAPSHOT, second.id)]
        assert watch.token != ""


async def test_a_snapshot_of_more_than_a_page_is_whole(fleet: Fleet) -> None:
    sessions = [a_session() for _ in range(1001)]
    fleet.database.put(*sessions)
    async with watching(fleet) as watch:
        batch = await watch.batch()
    assert [session_id for _, session_id in batch] == sorted(session.id for session in sessions)


async def test_a_watch_shows_what_its_filter_lets_through(fleet: Fleet) -> None:
    await fleet.with_node(slots=9, browsers=tuple(BrowserType))
    wanted = await fleet.create(request=a_request(labels={"team": "qa", "tier": "1"}))
    await fleet.create(request=a_request(labels={"team": "dev"}))
    await fleet.create(request=a_request(browser_type=BrowserType.MSEDGE, labels={"team": "qa"}))
    await fleet.create(caller=_OTHER, request=a_request(labels={"team": "qa"}))
    query = replace(_RUNNING, labels={"team": "qa"}, browser_types=(BrowserType.CHROME,))
    async with watching(fleet, query) as watch:
        assert await watch.batch() == [(WatchNews.SNAPSHOT, wanted.id)]


async def test_what_is_due_narrows_no_watch(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    async with watching(fleet, replace(MINE, due_before=NOON)) as watch:
        assert await watch.batch() == [(WatchNews.SNAPSHOT, session.id)]


# ---- what changes


async def test_changes_come_as_the_session_is_then(fleet: Fleet) -> None:
    await fleet.with_node()
    async with watching(fleet) as watch:
        assert await watch.batch() == []
        session = await fleet.create()
        assert await watch.batch() == [(WatchNews.CHANGED, session.id)]
        await fleet.close(session)
        item = await watch.next()
        assert item.session is not None
        assert (item.kind, item.session.state) == (WatchNews.CHANGED, SessionState.CLOSED)


async def test_a_session_that_matches_no_more_has_left(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    async with watching(fleet, _RUNNING) as watch:
        await watch.batch()
        await fleet.close(session)
        assert await watch.batch() == [(WatchNews.LEFT, session.id)]


async def test_another_organizations_changes_are_not_even_told_to_have_left(fleet: Fleet) -> None:
    await fleet.with_node()
    theirs = await fleet.create(caller=_OTHER)
    async with watching(fleet, _RUNNING) as watch:
        assert await watch.batch() == []
        await fleet.close(theirs, caller=_OTHER)
        mine = await fleet.create()
        assert await watch.batch() == [(WatchNews.CHANGED, mine.id)]


async def test_a_service_watches_every_organization(fleet: Fleet) -> None:
    await fleet.with_node()
    mine, theirs = await fleet.create(), await fleet.create(caller=_OTHER)
    async with watching(fleet, SessionQuery(), caller=a_caller(scope=Scope.SERVICE)) as watch:
        assert await watch.batch() == [(WatchNews.SNAPSHOT, mine.id), (WatchNews.SNAPSHOT, theirs.id)]


async def test_a_slow_reader_gets_a_session_once_with_its_latest_state(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    async with watching(fleet) as watch:
        await watch.batch()
        for _ in range(5):
            await fleet.plane.sessions.extend(a_caller(), session.id, by=_MINUTE)
            # The reader of changes sees every one of them.
            await elapse(_SECOND)
        item = await watch.next()
        assert item.session is not None
        assert (item.kind, item.session.timeout) == (WatchNews.CHANGED, 65 * _MINUTE)
        assert (await watch.next()).kind is WatchNews.BOOKMARK


async def test_a_session_that_is_made_during_the_snapshot_is_not_lost(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    await fleet.create()
    await fleet.create()
    async with watching(fleet) as watch:
        await watch.next()
        late = await fleet.create()
        news = [*await watch.batch(), *await watch.batch()]
    assert (WatchNews.CHANGED, late.id) in news


async def test_clients_that_come_and_go_are_changes(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    async with watching(fleet) as watch:
        await watch.batch()
        fleet.database.put(replace(fleet.database.session(session.id), client_count=1))
        item = await watch.next()
        assert item.session is not None
        assert item.session.client_count == 1


async def test_a_database_that_is_away_loses_nothing(fleet: Fleet) -> None:
    await fleet.with_node()
    async with watching(fleet) as watch:
        await watch.batch()
        session = await fleet.create()
        fleet.database.fails_with = DatabaseUnavailable("The database does not answer.")
        news = asyncio.ensure_future(watch.batch())
        await elapse(5 * _SECOND)
        assert not news.done()
        fleet.database.fails_with = None
        assert await news == [(WatchNews.CHANGED, session.id)]


async def test_nobody_reads_changes_while_nobody_listens(fleet: Fleet) -> None:
    await token_of(fleet)
    await settled()
    async with fleet.database.single() as tx:
        before = await tx.sessions.position()
    await elapse(60 * _SECOND)
    async with fleet.database.single() as tx:
        # The look before was one.
        assert await tx.sessions.position() == before + 1


# ---- how many, and how long


async def test_an_organization_watches_100_times_at_once(fleet: Fleet) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(99):
            await (await stack.enter_async_context(watching(fleet))).next()
        async with watching(fleet) as last:
            await last.next()
            with pytest.raises(TooManyWatches):
                await refused(fleet, MINE, "")
            async with watching(fleet, replace(MINE, organization_id=OTHER_ORGANIZATION), caller=_OTHER) as theirs:
                await theirs.next()
        # One has left.
        async with watching(fleet) as watch:
            await watch.next()


async def test_a_refused_token_takes_no_room(fleet: Fleet) -> None:
    for _ in range(101):
        with pytest.raises(InvalidResumeToken):
            await refused(fleet, MINE, "x")
    async with watching(fleet) as watch:
        await watch.next()


async def test_a_replica_that_stops_sends_watchers_away(fleet: Fleet) -> None:
    async with watching(fleet) as watch:
        await watch.batch()
        news = asyncio.ensure_future(watch.next())
        await settled()
        fleet.plane.hub.stop()
        with pytest.raises(ServiceStopping) as refusal:
            await news
    assert refusal.value.retry_after is not None
    with pytest.raises(ServiceStopping):
        await refused(fleet, MINE, "")


async def test_watchers_begin_anew_when_the_database_is_an_older_one_than_before(fleet: Fleet) -> None:
    async with watching(fleet) as watch:
        await watch.batch()
        news = asyncio.ensure_future(watch.next())
        await settled()
        fleet.database.fails_with = ResumeTokenExpired("The database is not the one that this token is of.")
        with pytest.raises(ServiceStopping):
            await news
        fleet.database.fails_with = None
    async with watching(fleet) as watch:
        assert await watch.batch() == []


async def test_a_watcher_that_comes_while_the_replica_stops_is_sent_away(fleet: Fleet) -> None:
    async with watching(fleet) as watch:
        async with fleet.database.transaction():
            news = asyncio.ensure_future(watch.next())
            await settled()
            fleet.plane.hub.stop()
        assert (await news).kind is WatchNews.BOOKMARK
        with pytest.raises(ServiceStopping):
            await watch.next()


async def test_a_watcher_that_leaves_is_forgotten(fleet: Fleet) -> None:
    async def watch_for_ever() -> list[Session | None]:
        async with watching(fleet) as watch:
            return [(await watch.next()).session for _ in range(100)]

    watchers = [asyncio.create_task(watch_for_ever()) for _ in range(100)]
    await settled()
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    async with watching(fleet) as watch:
        assert await watch.batch() == []
