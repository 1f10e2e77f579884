"""Watching through one replica what happens through others: nothing is lost, nothing goes backwards, nothing is late."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg

from fleetkit.lifecycle import background
from session_api.domain.identifiers import SessionId
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from session_api.usecases.watching import WatchItem, WatchNews
from tests.integration.session_api.fleet import RealFleet
from tests.support.fleet_builders import ORGANIZATION
from tests.support.waiting import until

_QUERY = SessionQuery(organization_id=ORGANIZATION)
_MINUTE = timedelta(minutes=1)
_SESSIONS = 60


class _Watcher:
    """Watches through one replica, and keeps what it was told."""

    def __init__(self, fleet: RealFleet, *, at: int) -> None:
        self._fleet = fleet
        self._replica = at
        self.seen: dict[SessionId, list[Session]] = defaultdict(list)
        self.token = ""

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch within the block, from where the last one ended."""
        begun = asyncio.Event()

        async def watch() -> None:
            news = self._fleet.plane(self._replica).watching.watch(self._fleet.caller, _QUERY, self.token)
            async for item in news:
                self._take(item)
                if item.kind is WatchNews.BOOKMARK:
                    begun.set()

        async with background(watch()):
            await begun.wait()
            yield

    def last_of(self, session_id: SessionId) -> SessionState | None:
        seen = self.seen.get(session_id)
        return seen[-1].state if seen else None

    def _take(self, item: WatchItem) -> None:
        if item.session is not None:
            self.seen[item.session.id].append(item.session)
        self.token = item.resume_token or self.token


async def test_a_change_reaches_a_watcher_of_another_replica_within_a_second(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=5)
    watcher = _Watcher(fleet, at=1)
    async with watcher.watching():
        for _ in range(5):
            session = await fleet.create()
            await until(lambda: watcher.last_of(session.id) is SessionState.RUNNING, within=1)  # noqa: B023  # used up at once
            await fleet.close(session, at=2)
            await until(lambda: watcher.last_of(session.id) is SessionState.CLOSED, within=1)  # noqa: B023  # used up at once


async def _lives(fleet: RealFleet, number: int) -> SessionId:
    """Live a session through all replicas."""
    session = await fleet.create(at=number)
    await fleet.plane(number + 1).sessions.extend(fleet.caller, session.id, by=_MINUTE)
    await fleet.close(session, at=number + 2)
    return session.id


async def test_a_watcher_sees_every_session_to_its_end_and_none_go_backwards(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=_SESSIONS)
    # The second one leaves and comes back, each time to another replica.
    stays, leaves = _Watcher(fleet, at=0), _Watcher(fleet, at=1)
    async with stays.watching():
        lives = [asyncio.create_task(_lives(fleet, number)) for number in range(_SESSIONS)]
        for replica in range(3):
            leaves = _resumed(leaves, fleet, at=replica)
            async with leaves.watching():
                await asyncio.sleep(0.05)
        lived = await asyncio.gather(*lives)
        await until(lambda: all(stays.last_of(session_id) is SessionState.CLOSED for session_id in lived))
    async with leaves.watching():
        await until(lambda: all(leaves.last_of(session_id) is SessionState.CLOSED for session_id in lived))
    for watcher in (stays, leaves):
        assert set(watcher.seen) == set(lived)
        for seen in watcher.seen.values():
            # The same value may come twice, where a watch begins.
            sequences = [session.sequence for session in seen]
            assert sequences == sorted(sequences)


def _resumed(watcher: _Watcher, fleet: RealFleet, *, at: int) -> _Watcher:
    resumed = _Watcher(fleet, at=at)
    resumed.seen, resumed.token = watcher.seen, watcher.token
    return resumed


async def test_somebody_elses_long_transaction_delays_changes_and_loses_none(
    three_replicas: RealFleet, migrated: str
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=5)
    watcher = _Watcher(fleet, at=1)
    async with watcher.watching():
        foreign = await asyncpg.connect(migrated)
        await foreign.execute("BEGIN")
        await foreign.execute("SELECT pg_current_xact_id()")
        sessions = [await fleet.create(at=number) for number in range(3)]
        await fleet.close(sessions[0], at=2)
        await asyncio.sleep(0.5)
        assert watcher.seen == {}
        await foreign.execute("COMMIT")
        await foreign.close()
        await until(lambda: [watcher.last_of(session.id) for session in sessions] == ["CLOSED", "RUNNING", "RUNNING"])


async def test_a_watch_hears_of_what_was_written_before_it_and_committed_after_it(
    three_replicas: RealFleet, migrated: str
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=5)
    session = await fleet.create()
    slow = await asyncpg.connect(migrated)
    await slow.execute("BEGIN")
    await slow.execute("UPDATE fleet.session SET viewer_count = 7, change_xid = pg_current_xact_id()")
    watcher = _Watcher(fleet, at=1)
    async with watcher.watching():
        # Later transactions end before it does.
        other = await fleet.create(at=2)
        await slow.execute("COMMIT")
        await slow.close()
        await until(lambda: watcher.last_of(other.id) is SessionState.RUNNING)
        await until(lambda: watcher.seen[session.id][-1].viewer_count == 7)
