"""Passes over what is due, and what an outage of session-api does to them."""

import asyncio
import logging
from datetime import timedelta

import pytest

from fleetkit.errors import PermissionDenied, Unavailable
from reaper.ports import NodeReport
from reaper.sweeper import NodeSweeper, Sweeper, SweepLimits, SweepReport, until_answered
from tests.support.reaper_sessions import NOON, FakeNodes, FakeSessions, session_id

MINUTE = timedelta(minutes=1)
AT_ONCE = timedelta(0)


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions()


def a_sweeper(sessions: FakeSessions, *, at_once: int = 8) -> Sweeper:
    return Sweeper(sessions=sessions, limits=SweepLimits(at_once=at_once))


async def test_a_pass_reaps_what_is_due_and_nothing_else(sessions: FakeSessions) -> None:
    sessions.add(1, due_time=NOON - MINUTE)
    sessions.add(2, due_time=NOON + MINUTE)
    assert await a_sweeper(sessions).sweep() == SweepReport(found=1, failed=0)
    assert sessions.calls == [session_id(1)]


async def test_what_falls_due_later_is_reaped_by_a_later_pass(sessions: FakeSessions) -> None:
    sessions.add(1, due_time=NOON + MINUTE)
    sweeper = a_sweeper(sessions)
    found = []
    for _ in range(3):
        found.append((await sweeper.sweep()).found)
        sessions.step(MINUTE)
    assert found == [0, 1, 0]


async def test_one_session_that_fails_does_not_keep_the_others_open(sessions: FakeSessions) -> None:
    for number in range(1, 5):
        sessions.add(number, due_time=NOON - MINUTE)
    sessions.failing = {session_id(2): Unavailable("down"), session_id(3): ZeroDivisionError()}
    assert await a_sweeper(sessions).sweep() == SweepReport(found=4, failed=2)
    assert [sessions.waits(number) for number in range(1, 5)] == [False, True, True, False]


async def test_sessions_that_fail_again_and_again_do_not_keep_a_pass_from_its_end(sessions: FakeSessions) -> None:
    for number in range(1500):
        sessions.failing[sessions.add(number, due_time=NOON)] = PermissionDenied("odd")
    sessions.add(2000, due_time=NOON)
    assert await a_sweeper(sessions).sweep() == SweepReport(found=1501, failed=1500)
    assert not sessions.waits(2000)


async def test_a_backlog_is_reaped_in_one_pass_with_few_calls_at_once(sessions: FakeSessions) -> None:
    for number in range(2500):
        sessions.add(number, due_time=NOON - MINUTE)
    assert await a_sweeper(sessions, at_once=8).sweep() == SweepReport(found=2500, failed=0)
    assert sessions.most_at_once == 8


async def test_two_passes_at_once_do_no_harm(sessions: FakeSessions) -> None:
    for number in range(20):
        sessions.add(number, due_time=NOON)
    reports = await asyncio.gather(a_sweeper(sessions).sweep(), a_sweeper(sessions).sweep())
    assert [report.failed for report in reports] == [0, 0]
    assert not sessions.due_times


async def test_when_the_list_breaks_off_what_it_held_is_still_reaped(sessions: FakeSessions) -> None:
    sessions.add(1, due_time=NOON)
    sessions.list_failure = Unavailable("down")
    with pytest.raises(Unavailable):
        await a_sweeper(sessions).sweep()
    assert not sessions.waits(1)


async def test_a_pass_over_the_nodes_reports_what_was_done() -> None:
    nodes = FakeNodes()
    nodes.report = NodeReport(lost=1, failed_sessions=2, drained_sessions=3)
    assert await NodeSweeper(nodes).sweep() == nodes.report


async def test_a_pass_that_found_no_session_api_is_made_again_until_there_is_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = 0

    async def sweep() -> None:
        nonlocal calls
        calls += 1
        if calls <= 5:
            raise Unavailable("down")

    with caplog.at_level(logging.INFO):
        await until_answered(sweep, pause=AT_ONCE)()
    assert calls == 6
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_fault_of_a_pass_is_not_taken_for_an_outage() -> None:
    async def sweep() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_answered(sweep, pause=AT_ONCE)()
