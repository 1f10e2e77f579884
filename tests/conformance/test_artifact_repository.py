"""One suite for every Database and its ArtifactRepository: the fake, and real Postgres."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from artifact_store.adapters.postgres.database import migrate, open_database
from artifact_store.domain.artifact import Artifact, ArtifactKind, Blob, OrganizationId, SessionId
from artifact_store.domain.errors import ArtifactChanged, ArtifactNotFound
from artifact_store.domain.retention import SessionEnd
from artifact_store.usecases.ports import ArtifactQuery, Database
from fleetkit.paging import PageRequest
from fleetkit.settings import Secret
from tests.support.artifact_ends import a_session_end
from tests.support.artifact_fakes import (
    ORGANIZATION,
    SESSION,
    START_TIME,
    MemoryDatabase,
    a_new_artifact,
    a_new_recording,
    artifact_id,
)

QUERY = ArtifactQuery(organization_id=ORGANIZATION, session_id=SESSION)
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
    dsn = real_database
    assert await migrate(dsn) == ["0001_artifacts", "0002_session_ends"]
    assert await migrate(dsn) == []
    async with open_database(dsn) as opened:
        yield opened


def a_blob(number: int = 1) -> Blob:
    return Blob(key=f"key/{number}", size_bytes=5, sha256=f"{number:0>64}")


def a_pending(number: int = 1) -> Artifact:
    return Artifact.pending(a_new_artifact(number=number), now=START_TIME + number * MINUTE)


def an_uploaded(number: int = 1) -> Artifact:
    pending = Artifact.pending(a_new_recording(number=number), now=START_TIME + number * MINUTE)
    return pending.received(a_blob(number), now=START_TIME)


def a_failed(number: int = 1) -> Artifact:
    return a_pending(number).failed("gone", now=START_TIME)


def a_stored(number: int = 1) -> Artifact:
    return a_pending(number).received(a_blob(number), now=START_TIME)


def a_stored_video(number: int = 1) -> Artifact:
    return an_uploaded(number).finished(a_blob(number), now=START_TIME)


async def _add(database: Database, *artifacts: Artifact) -> None:
    async with database.transaction() as tx:
        for artifact in artifacts:
            await tx.artifacts.add(artifact)


async def _save(database: Database, artifact: Artifact) -> None:
    async with database.transaction() as tx:
        await tx.artifacts.save(artifact)


async def _get(database: Database, number: int = 1) -> Artifact:
    async with database.transaction() as tx:
        return await tx.artifacts.get(artifact_id(number))


async def test_an_artifact_comes_back_as_it_was_in_every_state(database: Database) -> None:
    states = [
        pending := Artifact.pending(a_new_recording(), now=START_TIME),
        uploaded := pending.received(a_blob(), now=START_TIME + MINUTE),
        claimed := uploaded.claimed(now=START_TIME + 2 * MINUTE, lease_ttl=MINUTE),
        claimed.finished(a_blob(2), now=START_TIME + 3 * MINUTE),
    ]
    await _add(database, pending)
    assert await _get(database) == pending
    for state in states[1:]:
        await _save(database, state)
        assert await _get(database) == state


async def test_a_failed_artifact_keeps_its_reason(database: Database) -> None:
    failed = a_pending().failed("gone", now=START_TIME)
    await _add(database, failed)
    assert await _get(database) == failed


async def test_an_unknown_artifact_is_not_found(database: Database) -> None:
    with pytest.raises(ArtifactNotFound):
        await _get(database)
    async with database.transaction() as tx:
        assert await tx.artifacts.find(artifact_id()) is None


async def test_adding_an_artifact_twice_is_refused(database: Database) -> None:
    await _add(database, a_pending())
    with pytest.raises(ArtifactChanged):
        await _add(database, a_pending())


async def test_a_save_on_a_stale_revision_is_refused(database: Database) -> None:
    first = a_pending()
    await _add(database, first)
    await _save(database, first.restarted(now=START_TIME))
    with pytest.raises(ArtifactChanged):
        await _save(database, first.received(a_blob(), now=START_TIME))
    with pytest.raises(ArtifactChanged):
        await _save(database, a_pending(2).restarted(now=START_TIME))


async def test_a_transaction_that_raises_changes_nothing(database: Database) -> None:
    async def add_and_fail() -> None:
        async with database.transaction() as tx:
            await tx.artifacts.add(a_pending())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await add_and_fail()
    with pytest.raises(ArtifactNotFound):
        await _get(database)


async def test_pages_go_through_a_sessions_artifacts_oldest_first(database: Database) -> None:
    same_time = replace(a_pending(5), create_time=a_pending(4).create_time)
    await _add(database, a_pending(3), a_pending(1), same_time, a_pending(4), a_pending(2))
    seen: list[str] = []
    page = PageRequest(size=2)
    while True:
        async with database.transaction() as tx:
            found = await tx.artifacts.list(QUERY, page)
        seen += [artifact.id for artifact in found.items]
        if found.next_after is None:
            break
        page = PageRequest(size=2, after=found.next_after)
    assert seen == [artifact_id(number) for number in (1, 2, 3, 4, 5)]


async def test_a_list_shows_one_session_of_one_organization_and_one_kind_if_asked(database: Database) -> None:
    await _add(
        database,
        a_pending(1),
        an_uploaded(2),
        replace(a_pending(3), organization_id=OrganizationId("o_two")),
        replace(a_pending(4), session_id=SessionId("pbs_other")),
    )
    async with database.transaction() as tx:
        every = await tx.artifacts.list(QUERY, PageRequest())
        recordings = await tx.artifacts.list(replace(QUERY, kind=ArtifactKind.RECORDING), PageRequest())
    assert [artifact.id for artifact in every.items] == [artifact_id(1), artifact_id(2)]
    assert [artifact.id for artifact in recordings.items] == [artifact_id(2)]


async def test_the_oldest_uploaded_artifact_without_a_lease_is_claimable(database: Database) -> None:
    held = an_uploaded(1).claimed(now=START_TIME, lease_ttl=MINUTE)
    await _add(database, held, an_uploaded(3), an_uploaded(2), a_pending(4))
    async with database.transaction() as tx:
        assert await tx.artifacts.claimable(now=START_TIME) == an_uploaded(2)
        assert await tx.artifacts.claimable(now=START_TIME + MINUTE) == held


async def test_a_lease_is_renewed_for_its_revision_only(database: Database) -> None:
    held = an_uploaded().claimed(now=START_TIME, lease_ttl=MINUTE)
    await _add(database, held)
    later = START_TIME + 5 * MINUTE
    async with database.transaction() as tx:
        assert await tx.artifacts.renew(held, lease_expire_time=later)
        assert not await tx.artifacts.renew(replace(held, revision=1), lease_expire_time=START_TIME)
    assert (await _get(database)).lease_expire_time == later


async def test_only_pending_artifacts_that_rest_are_abandoned(database: Database) -> None:
    await _add(database, a_pending(2), a_pending(1), an_uploaded(3))
    async with database.transaction() as tx:
        later = START_TIME + 9 * MINUTE
        assert await tx.artifacts.abandoned(before=later, unheard_before=START_TIME + 2 * MINUTE) == a_pending(1)
        assert await tx.artifacts.abandoned(before=later, unheard_before=START_TIME + MINUTE) is None


async def test_an_upload_of_an_ended_session_is_abandoned_when_the_end_and_the_last_try_are_past(
    database: Database,
) -> None:
    end_time = START_TIME + 5 * MINUTE
    await _add(database, a_pending(1), replace(a_pending(2), session_id=SessionId("pbs_other")))
    await _end(database, a_session_end(end_time=end_time))
    async with database.transaction() as tx:
        never = START_TIME - MINUTE
        for before in (START_TIME + MINUTE, end_time):
            assert await tx.artifacts.abandoned(before=before, unheard_before=never) is None
        found = await tx.artifacts.abandoned(before=end_time + MINUTE, unheard_before=never)
    assert found == replace(a_pending(1), session_end_time=end_time)


async def test_an_artifact_knows_the_end_of_its_own_session_in_its_own_organization(database: Database) -> None:
    await _add(database, a_pending(1), replace(a_pending(2), organization_id=OrganizationId("o_two")))
    await _end(database, a_session_end())
    assert (await _get(database, 1)).session_end_time == START_TIME
    assert (await _get(database, 2)).session_end_time is None
    async with database.transaction() as tx:
        assert [row.session_end_time for row in (await tx.artifacts.list(QUERY, PageRequest())).items] == [START_TIME]


async def test_only_artifacts_in_a_final_state_of_sessions_that_ended_in_time_expire(database: Database) -> None:
    open_session = replace(a_failed(4), session_id=SessionId("pbs_open"))
    await _add(database, a_pending(1), an_uploaded(2), a_failed(3), open_session, a_stored(5), a_stored_video(6))
    await _end(database, a_session_end())
    assert await _expired(database, ended_before=START_TIME) == [artifact_id(3), artifact_id(5)]
    assert await _expired(database, ended_before=START_TIME, limit=1) == [artifact_id(3)]
    assert await _expired(database, ended_before=START_TIME - MINUTE) == []


async def test_an_artifact_that_is_being_deleted_is_hidden_and_comes_again_when_its_lease_is_over(
    database: Database,
) -> None:
    await _add(database, stored := a_stored())
    deleting = stored.deleting(now=START_TIME, lease_ttl=MINUTE)
    await _save(database, deleting)
    with pytest.raises(ArtifactNotFound):
        await _get(database)
    async with database.transaction() as tx:
        assert (await tx.artifacts.list(QUERY, PageRequest())).items == []
        assert await tx.artifacts.find(artifact_id()) == deleting
        assert await tx.artifacts.expired(now=START_TIME, ended_before={}, limit=9) == []
        assert await tx.artifacts.expired(now=START_TIME + MINUTE, ended_before={}, limit=9) == [deleting]


async def test_only_the_stored_revision_is_removed(database: Database) -> None:
    await _add(database, stored := a_stored())
    for revision in (stored.revision + 1, stored.revision - 1):
        with pytest.raises(ArtifactChanged):
            await _remove(database, replace(stored, revision=revision))
    await _remove(database, stored)
    with pytest.raises(ArtifactChanged):
        await _remove(database, stored)
    async with database.transaction() as tx:
        assert await tx.artifacts.find(artifact_id()) is None


async def _end(database: Database, end: SessionEnd) -> None:
    async with database.transaction() as tx:
        assert await tx.session_ends.put(end)


async def _expired(database: Database, *, ended_before: datetime, limit: int = 9) -> list[str]:
    async with database.transaction() as tx:
        found = await tx.artifacts.expired(
            now=START_TIME, ended_before={ArtifactKind.DOWNLOAD: ended_before}, limit=limit
        )
    return sorted(artifact.id for artifact in found)


async def _remove(database: Database, artifact: Artifact) -> None:
    async with database.transaction() as tx:
        await tx.artifacts.remove(artifact)
