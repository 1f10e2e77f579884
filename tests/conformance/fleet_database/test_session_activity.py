"""What a node's reports leave with its sessions."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.node import Node, NodeReport, Registration
from session_api.domain.session import IdleActivity, IdlePolicy, Session, SessionState
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import MINUTE, Subject, add, register, save, stored
from tests.support.fleet_builders import NOON, a_report, a_session
from tests.support.waiting import eventually

_LATER = NOON + MINUTE
_SECOND = timedelta(seconds=1)


def _report(
    node: Node, *running: Session, clients: int = 0, viewers: int = 0, input_idle: timedelta | None = None
) -> NodeReport:
    registration = Registration(node_id=node.id, registration_id=node.registration_id)
    return a_report(registration, running=running, clients=clients, viewers=viewers, input_idle=input_idle)


async def _record(database: Database, report: NodeReport, *, now: datetime = _LATER) -> None:
    async with database.transaction() as tx:
        await tx.sessions.record_activity(report, now=now)


async def test_counts_are_stored_for_the_right_node_and_epoch_only(database: Database) -> None:
    node, other = await register(database), await register(database, name="node-b")
    right, stale = [a_session(allocation=node.allocation) for _ in range(2)]
    elsewhere = a_session(allocation=other.allocation)
    ended = a_session(allocation=node.allocation, state=SessionState.CLOSED)
    waiting = a_session(state=SessionState.QUEUED)
    await add(database, right, stale, elsewhere, ended, waiting)
    await _record(
        database,
        _report(node, right, replace(stale, epoch=2), elsewhere, ended, waiting, a_session(), clients=3, viewers=4),
    )
    await _record(database, _report(node))
    found = [await stored(database, session.id) for session in (right, stale, elsewhere, ended, waiting)]
    assert [(session.client_count, session.viewer_count) for session in found] == [(3, 4)] + [(0, 0)] * 4


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING])
async def test_counts_are_stored_as_long_as_a_session_has_not_ended(database: Database, state: SessionState) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation, state=state)
    await add(database, session)
    await _record(database, _report(node, session, viewers=1))
    assert await stored(database, session.id) == replace(session, viewer_count=1)


async def test_a_report_does_not_make_a_save_stale(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation)
    await add(database, session)
    await _record(database, _report(node, session, clients=1))
    saved = await save(database, session.closing(now=NOON, reason=CloseReason.USER_REQUESTED))
    assert saved.state is SessionState.CLOSING


@pytest.mark.parametrize(
    ("activity", "clients", "viewers", "input_idle", "active_time"),
    [
        pytest.param(IdleActivity.CONNECTION, 1, 0, None, _LATER, id="a client keeps awake"),
        pytest.param(IdleActivity.CONNECTION, 0, 1, None, _LATER, id="a viewer keeps awake"),
        pytest.param(IdleActivity.CONNECTION, 0, 0, None, NOON, id="nobody is there"),
        pytest.param(IdleActivity.CONNECTION, 0, 0, _SECOND, NOON, id="input without anybody is no connection"),
        pytest.param(IdleActivity.CONNECTION, 1, 0, MINUTE / 2, _LATER, id="a client without input keeps awake"),
        pytest.param(IdleActivity.INPUT, 1, 1, _SECOND, _LATER - _SECOND, id="input counts from when it was"),
        pytest.param(IdleActivity.INPUT, 0, 0, _SECOND, _LATER - _SECOND, id="input counts without clients"),
        pytest.param(IdleActivity.INPUT, 1, 1, 2 * MINUTE, NOON, id="input from before does not set back"),
        pytest.param(IdleActivity.INPUT, 1, 0, None, _LATER, id="a client counts where input is unknown"),
        pytest.param(IdleActivity.INPUT, 0, 0, None, NOON, id="nobody is there and input is unknown"),
    ],
)
async def test_what_counts_as_activity(
    database: Database,
    activity: IdleActivity,
    clients: int,
    viewers: int,
    input_idle: timedelta | None,
    active_time: datetime,
) -> None:
    node = await register(database)
    idle = IdlePolicy(timeout=2 * MINUTE, activity=activity)
    session = a_session(allocation=node.allocation, idle=idle)
    await add(database, session)
    await _record(database, _report(node, session, clients=clients, viewers=viewers, input_idle=input_idle))
    assert (await stored(database, session.id)).active_time == active_time


async def test_a_session_without_an_idle_timeout_has_no_activity(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation)
    await add(database, session)
    await _record(database, _report(node, session, clients=1, input_idle=_SECOND))
    assert (await stored(database, session.id)).active_time is None


async def test_activity_alone_is_stored_in_steps_of_a_tenth_of_the_timeout(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation, idle=IdlePolicy(timeout=10 * MINUTE))
    await add(database, session)

    async def active_time_after(now: datetime) -> datetime | None:
        await _record(database, _report(node, session, clients=1), now=now)
        return (await stored(database, session.id)).active_time

    # The first report brings a new count along.
    assert await active_time_after(NOON + _SECOND) == NOON + _SECOND
    assert await active_time_after(NOON + MINUTE) == NOON + _SECOND
    assert await active_time_after(NOON + MINUTE + 2 * _SECOND) == NOON + MINUTE + 2 * _SECOND


async def test_two_sessions_of_one_report_do_not_mix(database: Database) -> None:
    node = await register(database)
    by_input = a_session(allocation=node.allocation, idle=IdlePolicy(timeout=MINUTE, activity=IdleActivity.INPUT))
    plain = a_session(allocation=node.allocation)
    await add(database, by_input, plain)
    await _record(database, _report(node, by_input, plain, clients=2, input_idle=_SECOND))
    found = [await stored(database, session.id) for session in (by_input, plain)]
    assert [(session.client_count, session.active_time) for session in found] == [(2, _LATER - _SECOND), (2, None)]


async def test_a_report_that_waited_goes_by_what_the_session_has_become(subject: Subject, database: Database) -> None:
    node = await register(database)
    kept, ended, moved = [a_session(allocation=node.allocation) for _ in range(3)]
    await add(database, kept, ended, moved)
    async with database.transaction() as tx:
        for session in (kept, ended, moved):
            await tx.sessions.lock(session.id)
        report = asyncio.create_task(_record(database, _report(node, kept, ended, moved, clients=1)))
        await eventually(subject.is_somebody_waiting, within=10, what="the report waits")
        await tx.sessions.save(kept.extended(by=MINUTE, now=NOON))
        await tx.sessions.save(ended.ended(now=NOON, reason=CloseReason.IDLE))
        await tx.sessions.save(replace(moved, epoch=2))
    await report
    found = [await stored(database, session.id) for session in (kept, ended, moved)]
    assert [session.client_count for session in found] == [1, 0, 0]
    assert (found[0].revision, found[0].timeout) == (1, kept.timeout + MINUTE)
