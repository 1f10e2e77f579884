"""One suite for what artifact-store keeps of events: the fakes, and real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from artifact_store.adapters.postgres.database import migrate, open_database
from artifact_store.domain.artifact import Artifact, OrganizationId, SessionId
from artifact_store.domain.retention import SessionEnd
from artifact_store.usecases.ports import Database
from artifact_store.usecases.session_ends import EndedSessions
from fleetkit.settings import Secret
from tests.support.artifact_ends import SESSION, START_TIME, a_session_end
from tests.support.artifact_fakes import MemoryDatabase, SteppedClock, a_new_artifact

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["fake", "postgres"])
def real_database(request: pytest.FixtureRequest) -> Secret | None:
    """Where the real database is; None for the fake one."""
    return None if request.param == "fake" else Secret(request.getfixturevalue("empty_database"))


@pytest.fixture
async def database(real_database: Secret | None) -> AsyncIterator[Database]:
    if real_database is None:
        yield MemoryDatabase()
        return
    await migrate(real_database)
    async with open_database(real_database) as opened:
        yield opened


@pytest.fixture
def sessions(database: Database) -> EndedSessions:
    return EndedSessions(database=database, clock=SteppedClock())


async def _known(database: Database, session_id: SessionId = SESSION) -> SessionEnd | None:
    async with database.transaction() as tx:
        return await tx.session_ends.find(session_id)


class Crash(Exception):
    """The process dies before it commits."""


async def _receive_and_crash(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.inbox.receive("evt_1", now=START_TIME)
        assert await tx.session_ends.put(a_session_end())
        raise Crash


async def test_an_event_is_received_once(database: Database) -> None:
    for name, first in (("evt_1", True), ("evt_1", False), ("evt_2", True)):
        async with database.transaction() as tx:
            assert await tx.inbox.receive(name, now=START_TIME) is first


async def test_an_event_that_came_twice_at_once_is_applied_once(database: Database, sessions: EndedSessions) -> None:
    # The second delivery says something else, so that its effect would show.
    ends = [a_session_end(sequence=sequence) for sequence in range(1, 21)]
    changed = await asyncio.gather(*(sessions.ended(end, message_id="evt_1") for end in ends))
    assert changed.count(True) == 1
    assert await _known(database) == ends[changed.index(True)]


async def test_an_event_that_comes_again_after_its_effect_but_before_its_acknowledgement_does_nothing(
    database: Database, sessions: EndedSessions
) -> None:
    assert await sessions.ended(a_session_end(), message_id="evt_1")
    assert not await sessions.ended(a_session_end(sequence=9), message_id="evt_1")
    assert await _known(database) == a_session_end()


async def test_an_event_whose_effect_was_not_committed_is_applied_when_it_comes_again(
    database: Database, sessions: EndedSessions
) -> None:
    with pytest.raises(Crash):
        await _receive_and_crash(database)
    assert await _known(database) is None
    assert await sessions.ended(a_session_end(), message_id="evt_1")


async def test_a_delivery_waits_for_the_one_before_it_and_applies_when_that_one_fails(
    database: Database, sessions: EndedSessions
) -> None:
    outcomes = await asyncio.gather(
        _receive_and_crash(database), sessions.ended(a_session_end(), message_id="evt_1"), return_exceptions=True
    )
    assert isinstance(outcomes[0], Crash)
    assert outcomes[1] is True
    assert await _known(database) == a_session_end()


@pytest.mark.parametrize("order", [(3, 5, 4), (5, 3, 4), (4, 5, 3)])
async def test_in_whatever_order_events_come_the_highest_sequence_holds(
    database: Database, sessions: EndedSessions, order: tuple[int, ...]
) -> None:
    ends = {sequence: a_session_end(sequence=sequence, end_time=START_TIME + sequence * MINUTE) for sequence in order}
    for sequence in order:
        await sessions.ended(ends[sequence], message_id=f"evt_{sequence}")
    assert await _known(database) == ends[5]


async def test_an_event_with_the_sequence_that_is_known_changes_nothing(
    database: Database, sessions: EndedSessions
) -> None:
    await sessions.ended(a_session_end(), message_id="evt_1")
    assert not await sessions.ended(a_session_end(end_time=START_TIME + MINUTE), message_id="evt_2")
    assert await _known(database) == a_session_end()


async def test_old_events_are_forgotten_a_bounded_number_at_a_time(database: Database) -> None:
    async with database.transaction() as tx:
        for number in range(5):
            await tx.inbox.receive(f"evt_{number}", now=START_TIME + number * MINUTE)
    counts = []
    for _ in range(3):
        async with database.transaction() as tx:
            counts.append(await tx.inbox.prune(before=START_TIME + 3 * MINUTE, limit=2))
    assert counts == [2, 1, 0]
    async with database.transaction() as tx:
        assert [await tx.inbox.receive(f"evt_{number}", now=START_TIME) for number in (0, 3)] == [True, False]


async def test_an_end_is_forgotten_when_the_session_has_no_artifact_left(database: Database) -> None:
    other, young = SessionId("pbs_other"), SessionId("pbs_young")
    async with database.transaction() as tx:
        await tx.artifacts.add(Artifact.pending(a_new_artifact(), now=START_TIME))
        # Another organization's artifact does not hold the end of this session.
        stranger = replace(a_new_artifact(number=2, session_id=other), organization_id=OrganizationId("o_two"))
        await tx.artifacts.add(Artifact.pending(stranger, now=START_TIME))
        for name in (SESSION, other):
            await tx.session_ends.put(a_session_end(session_id=name))
        await tx.session_ends.put(a_session_end(session_id=young, end_time=START_TIME + MINUTE))
    async with database.transaction() as tx:
        assert await tx.session_ends.prune(before=START_TIME + MINUTE, limit=9) == 1
    assert [await _known(database, name) is None for name in (SESSION, other, young)] == [False, True, False]
