"""Sessions that are closed, extended, found: the verbs of one session that runs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.caller import Scope
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import NodeUnavailable, SessionNotFound, SessionNotOpen, TimeoutLimit
from session_api.domain.identifiers import SessionId
from session_api.domain.leases import HolderKind
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from tests.support.fleet_builders import NOON, OTHER_ORGANIZATION, FakeNodes, a_caller, a_session_id
from tests.unit.session_api.fleet import Fleet, a_fleet, a_request

_MINUTE = timedelta(minutes=1)
_STRANGER = a_caller(organization_id=OTHER_ORGANIZATION)

_VERBS: dict[str, Callable[[Fleet, SessionId], Awaitable[Session]]] = {
    "get": lambda fleet, session_id: fleet.plane.sessions.get(_STRANGER, session_id),
    "close": lambda fleet, session_id: fleet.plane.sessions.close(_STRANGER, session_id),
    "extend": lambda fleet, session_id: fleet.plane.sessions.extend(_STRANGER, session_id, by=_MINUTE),
    "occupy": lambda fleet, session_id: fleet.plane.leasing.occupy(
        _STRANGER, session_id, kind=HolderKind.TASK, holder_id="run-1", ttl=None
    ),
    "release": lambda fleet, session_id: fleet.plane.leasing.release(_STRANGER, session_id, generation=1),
    "take control": lambda fleet, session_id: fleet.plane.leasing.take_control(
        _STRANGER, session_id, holder="Eve", ttl=_MINUTE, take_over=True
    ),
    "release control": lambda fleet, session_id: fleet.plane.leasing.release_control(
        _STRANGER, session_id, generation=1
    ),
}


class _DeafNodes(FakeNodes):
    """Nodes that cannot be told of a later deadline."""

    async def set_deadline(self, session: Session, *, remaining: timedelta) -> None:
        raise NodeUnavailable("The node does not answer.")


# ---- closing


async def test_a_closed_session_is_final_and_its_slot_is_free(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    closed = await fleet.close(session)
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    assert fleet.gateway.stopped == [(session.id, CloseReason.USER_REQUESTED)]
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id) == ["created", "started", "closing", "closed"]
    purged = [news.subject for news in fleet.database.outbox if news.action == "PURGE"]
    assert purged == [f"schedule.session.{session.id}"]


async def test_a_closed_session_is_billed_once_from_its_start_to_its_end(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=a_request(labels={"team": "qa"}))
    fleet.clock.step(90 * timedelta(seconds=1))
    await asyncio.gather(*(fleet.close(session) for _ in range(3)))
    (record,) = fleet.database.usage()
    assert (record.session_id, record.epoch, record.labels) == (session.id, 1, {"team": "qa"})
    assert (record.start_time, record.used) == (NOON, timedelta(seconds=90))


async def test_closing_twice_changes_nothing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    first = await fleet.close(session)
    fleet.clock.step(_MINUTE)
    assert (await fleet.close(session)).end_time == first.end_time
    assert fleet.slots_used(registration) == 0
    assert len(fleet.gateway.stopped) == 1


async def test_a_node_that_does_not_answer_does_not_hold_up_a_close(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.gateway.stop_fails_with = NodeUnavailable("The node does not answer.")
    assert (await fleet.close(session)).state is SessionState.CLOSED
    assert fleet.slots_used(registration) == 0


async def test_a_close_whose_caller_left_is_finished_all_the_same(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    fleet.gateway.may_stop.clear()
    close = asyncio.create_task(fleet.close(session))
    await fleet.gateway.stopping.wait()
    close.cancel()
    fleet.gateway.may_stop.set()
    await fleet.in_state(session.id, SessionState.CLOSED)


# ---- extending


async def test_an_extension_tells_the_node_and_moves_the_countdown(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=a_request(timeout=10 * _MINUTE))
    fleet.clock.step(_MINUTE)
    extended = await fleet.plane.sessions.extend(a_caller(), session.id, by=5 * _MINUTE)
    assert extended.expire_time == NOON + 15 * _MINUTE
    assert fleet.gateway.deadlines == {session.id: 14 * _MINUTE}
    schedules = [news.due_time for news in fleet.database.outbox if news.subject == f"schedule.session.{session.id}"]
    assert schedules == [NOON + 5 * _MINUTE, NOON + 10 * _MINUTE]
    assert fleet.database.types_of(session.id)[-1] == "extended"


async def test_a_node_that_does_not_answer_does_not_hold_up_an_extension() -> None:
    async with a_fleet(gateway=_DeafNodes()) as fleet:
        await fleet.with_node()
        session = await fleet.create(request=a_request(timeout=5 * _MINUTE))
        extended = await fleet.plane.sessions.extend(a_caller(), session.id, by=5 * _MINUTE)
        assert extended.timeout == 10 * _MINUTE
        assert fleet.database.session(session.id).expire_time == NOON + 10 * _MINUTE


async def test_an_ended_session_is_not_extended_and_a_limit_is_kept(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=a_request(timeout=1440 * _MINUTE))
    with pytest.raises(TimeoutLimit):
        await fleet.plane.sessions.extend(a_caller(), session.id, by=_MINUTE)
    await fleet.close(session)
    with pytest.raises(SessionNotOpen):
        await fleet.plane.sessions.extend(a_caller(), session.id, by=_MINUTE)


# ---- whose it is


@pytest.mark.parametrize("verb", list(_VERBS))
async def test_another_organizations_session_does_not_exist(fleet: Fleet, verb: str) -> None:
    await fleet.with_node()
    session = await fleet.create()
    before = fleet.database.session(session.id)
    with pytest.raises(SessionNotFound) as foreign:
        await _VERBS[verb](fleet, session.id)
    with pytest.raises(SessionNotFound) as absent:
        await _VERBS[verb](fleet, a_session_id())
    assert foreign.value.message == absent.value.message
    assert fleet.database.session(session.id) == before


async def test_a_service_key_sees_every_organization(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    service = a_caller(organization_id=OTHER_ORGANIZATION, scope=Scope.SERVICE)
    assert (await fleet.plane.sessions.get(service, session.id)).id == session.id


async def test_a_list_holds_only_what_the_query_asks_for(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    page = await fleet.plane.sessions.list(SessionQuery(states=(SessionState.RUNNING,)), PageRequest())
    assert [row.id for row in page.items] == [session.id]
    none = await fleet.plane.sessions.list(SessionQuery(organization_id=OTHER_ORGANIZATION), PageRequest())
    assert none.items == []
