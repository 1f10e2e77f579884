"""Many creates at once over several replicas: no slot is given away twice, and nobody is refused without cause."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fleetkit.lifecycle import background
from fleetkit.postgres import DatabaseUnavailable
from fleetkit.rpc.interceptors import MAX_UNARY_TIME
from session_api.domain.caller import Caller
from session_api.domain.errors import NoCapacity
from session_api.domain.identifiers import OrganizationId
from session_api.domain.session import Session, SessionState
from tests.integration.session_api.fleet import RealFleet, a_request, an_organization, outcomes
from tests.integration.session_api.invariants import held_throughout


async def test_of_fifty_callers_one_gets_the_last_slot(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    node = await fleet.with_node(slots=2)
    await fleet.create()
    for _ in range(3):
        async with held_throughout(fleet.pool):
            created, refused = await outcomes(*(fleet.create(at=number) for number in range(50)))
        assert len(created) == 1
        assert [type(error) for error in refused] == [NoCapacity] * 49
        assert all(error.retry_after is not None for error in refused)
        assert await fleet.slots_used(node.node_id) == 2
        await fleet.close(created[0], at=1)


async def test_fifty_creates_on_five_slots_of_two_nodes_make_exactly_five_sessions(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    nodes = [await fleet.with_node(name="node-a", slots=3), await fleet.with_node(name="node-b", slots=2)]
    async with held_throughout(fleet.pool):
        created, refused = await outcomes(*(fleet.create(at=number) for number in range(50)))
    assert len(created) == 5
    assert {type(error) for error in refused} == {NoCapacity}
    assert [await fleet.slots_used(node.node_id) for node in nodes] == [3, 2]


class _Herd:
    """Callers who want a session, keep it for a moment and give it back; when told to, they try again."""

    def __init__(self, fleet: RealFleet, *, wait: timedelta) -> None:
        self._fleet = fleet
        self._wait = wait.total_seconds()
        self.answers: list[tuple[SessionState, float]] = []
        self.held: Counter[OrganizationId] = Counter()

    async def call(self, number: int, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        request = a_request(request_id=f"call-{number}", queue_timeout=timedelta(minutes=10))
        session = await self._until_answered(
            lambda: self._fleet.create(
                request, at=number, caller=caller, wait=timedelta(seconds=max(begun + self._wait - loop.time(), 0))
            )
        )
        self.answers.append((session.state, loop.time() - begun))
        if session.state is SessionState.RUNNING:
            await asyncio.sleep(0.2)
        await self._until_answered(lambda: self._fleet.plane(number + 1).sessions.close(caller, session.id))

    async def look(self) -> None:
        """Count who holds how many slots, while everybody waits for more and has had the time to get them."""
        while True:
            rows = await self._fleet.pool.fetch(
                "SELECT organization_id, count(*) FILTER (WHERE state <> 'QUEUED') AS held FROM fleet.session"
                " WHERE end_time IS NULL GROUP BY 1 HAVING count(*) FILTER (WHERE state = 'QUEUED') > 10"
            )
            if len(rows) == 3 and len(self.answers) > 60:
                self.held.update({OrganizationId(row["organization_id"]): row["held"] for row in rows})
            await asyncio.sleep(0.05)

    async def _until_answered(self, call: Callable[[], Awaitable[Session]]) -> Session:
        while True:
            try:
                return await call()
            except DatabaseUnavailable as busy:
                pause = busy.retry_after or timedelta(seconds=1)
                await asyncio.sleep(pause.total_seconds() * random.random())


async def test_a_herd_on_few_slots_is_answered_in_time_and_shares_the_fleet_by_weight(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    nodes = [await fleet.with_node(name=name, slots=10) for name in ("node-a", "node-b")]
    low, middle, high = callers = [an_organization(name) for name in ("o_low", "o_middle", "o_high")]
    for caller, weight in zip(callers, (1, 2, 4), strict=True):
        await fleet.with_organization(caller, weight=weight)
    herd = _Herd(fleet, wait=timedelta(seconds=8))
    async with held_throughout(fleet.pool), fleet.giving_slots_away(), background(herd.look()):
        calls = zip(range(500), itertools.cycle(callers), strict=False)
        await asyncio.gather(*(herd.call(number, caller) for number, caller in calls))
    assert len(herd.answers) == 500
    assert {state for state, _ in herd.answers} <= {SessionState.RUNNING, SessionState.STARTING, SessionState.QUEUED}
    # The server's limit on a call, whatever the machine is busy with; a wait of 8 s comes in long before.
    assert max(after for _, after in herd.answers) < MAX_UNARY_TIME.total_seconds()
    assert herd.held[high.organization_id] > herd.held[middle.organization_id] > herd.held[low.organization_id]
    assert [await fleet.slots_used(node.node_id) for node in nodes] == [0, 0]
