"""One idempotency key makes one session, whichever replicas a caller tries at once."""

import asyncio
from datetime import timedelta

from session_api.domain.errors import NoCapacity, RequestIdReused
from session_api.domain.organization import Limits
from tests.integration.session_api.fleet import RealFleet, a_request, an_organization, outcomes
from tests.integration.session_api.invariants import held_throughout

_TIMES = 100


async def test_the_same_key_at_several_replicas_at_once_makes_one_session(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    node = await fleet.with_node(slots=4)
    async with held_throughout(fleet.pool):
        for time in range(_TIMES):
            request = a_request(request_id=f"key-{time}")
            created, refused = await outcomes(*(fleet.create(request, at=number) for number in range(3)))
            assert refused == []
            assert len({session.id for session in created}) == 1
            assert await fleet.slots_used(node.node_id) == 1
            assert await fleet.announced(created[0].id) == ["created", "started"]
            await fleet.close(created[0])


async def test_a_key_with_another_body_is_refused_and_names_the_session_that_it_made(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=4)
    for time in range(_TIMES):
        bodies = [a_request(request_id=f"key-{time}", labels={"body": body}) for body in "ab"]
        created, refused = await outcomes(*(fleet.create(body, at=number) for number, body in enumerate(bodies)))
        (session,), (error,) = created, refused
        assert isinstance(error, RequestIdReused)
        assert error.metadata["session_id"] == session.id
        await fleet.close(session)


async def test_the_last_slot_goes_to_a_key_and_every_call_with_it_finds_the_session(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    for time in range(_TIMES):
        request = a_request(request_id=f"key-{time}")
        created, refused = await outcomes(*(fleet.create(request, at=number) for number in range(3)))
        assert refused == []
        assert len({session.id for session in created}) == 1
        await fleet.close(created[0])


async def test_a_quota_of_one_goes_to_a_key_and_every_call_with_it_finds_the_session(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=4)
    caller = an_organization("o_small", limits=Limits(max_open_sessions=1))
    await fleet.with_organization(caller)
    for time in range(_TIMES):
        request = a_request(request_id=f"key-{time}")
        calls = (fleet.create(request, at=number, caller=caller) for number in range(3))
        created, refused = await outcomes(*calls)
        assert refused == []
        assert len({session.id for session in created}) == 1
        await fleet.plane(time).sessions.close(caller, created[0].id)


async def test_a_key_of_one_organization_says_nothing_to_another(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=4)
    other = an_organization("o_other")
    await fleet.with_organization(other)
    request = a_request(request_id="the same")
    mine, theirs = await asyncio.gather(fleet.create(request), fleet.create(request, at=1, caller=other))
    assert mine.id != theirs.id


async def test_a_create_that_was_refused_may_be_tried_again_under_its_key(fleet: RealFleet) -> None:
    await fleet.with_node(slots=1)
    first = await fleet.create()
    request = a_request(request_id="patient")
    _, (refused,) = await outcomes(fleet.create(request))
    assert isinstance(refused, NoCapacity)
    await fleet.close(first)
    assert (await fleet.create(request)).id != first.id


async def test_a_queued_create_is_found_by_its_key_and_waits_once(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    first = await fleet.create()
    request = a_request(request_id="queued", queue_timeout=timedelta(minutes=5))
    waiting = asyncio.ensure_future(outcomes(*(fleet.create(request, at=number) for number in range(3))))
    async with fleet.giving_slots_away():
        await fleet.queued(1)
        await fleet.close(first, at=1)
        created, refused = await waiting
    assert refused == []
    assert len({session.id for session in created}) == 1
    assert await fleet.announced(created[0].id) == ["queued", "created", "started"]
