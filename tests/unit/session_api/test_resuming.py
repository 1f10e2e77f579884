"""Where a watch can go on from, and where it cannot."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from session_api.domain.errors import InvalidResumeToken, ResumeTokenExpired
from session_api.domain.session import SessionState
from session_api.usecases.queries import SessionQuery
from session_api.usecases.watching import WatchNews
from tests.support.fleet_builders import OTHER_ORGANIZATION
from tests.unit.session_api.fleet import Fleet, a_fleet
from tests.unit.session_api.watches import MINE, refused, token_of, watching

_RUNNING = replace(MINE, states=(SessionState.RUNNING,))


async def test_a_bookmark_comes_every_15_seconds_without_news(fleet: Fleet) -> None:
    loop = asyncio.get_running_loop()
    async with watching(fleet) as watch:
        await watch.batch()
        for _ in range(3):
            before = loop.time()
            assert await watch.batch() == []
            assert loop.time() - before == pytest.approx(15)


async def test_a_resumed_watch_sends_what_changed_meanwhile_and_no_snapshot(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    await fleet.create()
    changed = await fleet.create()
    token = await token_of(fleet, _RUNNING)
    await fleet.close(changed)
    new = await fleet.create()
    async with watching(fleet, _RUNNING, token=token) as watch:
        assert await watch.batch() == [(WatchNews.LEFT, changed.id), (WatchNews.CHANGED, new.id)]


async def test_every_bookmark_is_a_place_to_go_on_from(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    tokens, sessions = [], []
    async with watching(fleet) as watch:
        for _ in range(3):
            await watch.batch()
            tokens.append(watch.token)
            sessions.append(await fleet.create())
    for number, token in enumerate(tokens):
        async with watching(fleet, token=token) as watch:
            assert [session_id for _, session_id in await watch.batch()] == [row.id for row in sessions[number:]]


async def test_a_resumed_watch_goes_on_with_changes(fleet: Fleet) -> None:
    await fleet.with_node()
    async with watching(fleet, token=await token_of(fleet)) as watch:
        assert await watch.batch() == []
        session = await fleet.create()
        assert await watch.batch() == [(WatchNews.CHANGED, session.id)]


@pytest.mark.parametrize("token", ["x", "Zm9yZ2Vk", "é", "\0", "A" * 1024])
async def test_a_token_that_is_not_ours_isrefused(fleet: Fleet, token: str) -> None:
    with pytest.raises(InvalidResumeToken):
        await refused(fleet, MINE, token)


@pytest.mark.parametrize(
    "other", [_RUNNING, replace(MINE, organization_id=OTHER_ORGANIZATION), replace(MINE, labels={"a": "b"})]
)
async def test_a_token_of_another_filter_isrefused(fleet: Fleet, other: SessionQuery) -> None:
    with pytest.raises(InvalidResumeToken):
        await refused(fleet, other, await token_of(fleet))


async def test_a_page_token_is_no_resumetoken_of(fleet: Fleet) -> None:
    token = fleet.plane.page_tokens.sign("pbs_1", query=repr(MINE))
    with pytest.raises(InvalidResumeToken):
        await refused(fleet, MINE, token)


async def test_a_token_is_good_for_a_day(fleet: Fleet) -> None:
    token = await token_of(fleet)
    fleet.clock.step(timedelta(hours=24))
    async with watching(fleet, token=token) as watch:
        assert await watch.batch() == []
    fleet.clock.step(timedelta(microseconds=1))
    with pytest.raises(ResumeTokenExpired):
        await refused(fleet, MINE, token)


async def test_a_token_from_before_a_database_was_restored_is_too_old(fleet: Fleet) -> None:
    await fleet.with_node()
    for _ in range(2):
        await fleet.create()
    token = await token_of(fleet)
    async with a_fleet() as restored:
        with pytest.raises(ResumeTokenExpired):
            await refused(restored, MINE, token)
