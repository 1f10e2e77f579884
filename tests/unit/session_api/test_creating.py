"""Sessions that find a slot at once, on fakes."""

import asyncio
from datetime import timedelta

import pytest

from fleetkit.errors import ResourceExhausted
from session_api.domain.browser import BrowserFacts, BrowserType
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    NodeUnavailable,
    RequestIdReused,
    SessionNotOpen,
)
from session_api.domain.organization import Limits
from session_api.domain.session import IdlePolicy, Session, SessionState
from tests.support.fleet_builders import FACTS, NOON, OTHER_ORGANIZATION, FakeNodes, a_caller
from tests.unit.session_api.fleet import Fleet, a_fleet, a_request
from tests.unit.session_api.virtual_time import settled

_MINUTE = timedelta(minutes=1)
_ONCE = a_request(request_id="once")


class _OnceSilent(FakeNodes):
    """Nodes that do not answer the first start, and every other one."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    async def start_browser(self, session: Session) -> BrowserFacts:
        await self.may_start.wait()
        if not self._asked:
            self._asked = True
            raise NodeUnavailable("The node does not answer.")
        return await super().start_browser(session)


async def test_a_created_session_runs_on_the_node_and_counts_down(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(request=a_request(timeout=10 * _MINUTE))
    assert (session.state, session.browser, session.holder) == (SessionState.RUNNING, FACTS, (registration.node_id, 1))
    assert session.expire_time == NOON + 10 * _MINUTE
    assert fleet.gateway.started == [session.id]
    assert fleet.slots_used(registration) == 1
    assert fleet.database.types_of(session.id) == ["created", "started"]
    assert fleet.relay_bell.rung > 0


async def test_the_first_instant_of_the_countdown_is_scheduled_with_the_start(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=a_request(timeout=10 * _MINUTE))
    (schedule,) = [news for news in fleet.database.outbox if news.subject == f"schedule.session.{session.id}"]
    assert schedule.due_time == NOON + 5 * _MINUTE


async def test_a_session_keeps_what_was_asked_for(fleet: Fleet) -> None:
    await fleet.with_node(browsers=(BrowserType.MSEDGE,))
    idle = IdlePolicy(timeout=_MINUTE)
    request = a_request(browser_type=BrowserType.MSEDGE, labels={"team": "qa"}, idle=idle)
    session = await fleet.create(request=request)
    assert (session.spec.browser_type, session.labels, session.idle) == (BrowserType.MSEDGE, {"team": "qa"}, idle)


async def test_a_session_without_a_timeout_lives_an_hour(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    assert (session.timeout, session.warnings) == (60 * _MINUTE, ())


async def test_a_timeout_above_the_organizations_cap_is_capped_with_a_warning(fleet: Fleet) -> None:
    await fleet.with_node()
    caller = a_caller(limits=Limits(max_timeout=30 * _MINUTE))
    session = await fleet.create(caller=caller, request=a_request(timeout=45 * _MINUTE))
    assert (session.timeout, session.lifetime_limit) == (30 * _MINUTE, 30 * _MINUTE)
    assert session.warnings == ("The timeout of 45 min was capped to this organization's limit of 30 min.",)
    by_default = await fleet.create(caller=caller)
    assert (by_default.timeout, by_default.warnings) == (30 * _MINUTE, ())


# ---- idempotency keys


async def test_the_same_request_id_returns_the_same_session(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    first, second = await fleet.create(request=_ONCE), await fleet.create(request=_ONCE)
    assert second.id == first.id
    assert fleet.slots_used(registration) == 1
    assert fleet.gateway.started == [first.id]


async def test_creates_with_one_request_id_at_the_same_time_make_one_session(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=5)
    created = await asyncio.gather(*(fleet.create(request=_ONCE) for _ in range(5)))
    assert len({session.id for session in created}) == 1
    assert {session.state for session in created} == {SessionState.RUNNING}
    assert fleet.slots_used(registration) == 1
    assert fleet.database.types_of(created[0].id) == ["created", "started"]


@pytest.mark.parametrize(
    "other",
    [
        a_request(request_id="once", timeout=5 * _MINUTE),
        a_request(request_id="once", labels={"a": "b"}),
        a_request(request_id="once", idle=IdlePolicy(timeout=_MINUTE)),
        a_request(request_id="once", queue_timeout=_MINUTE),
        a_request(request_id="once", browser_type=BrowserType.MSEDGE),
    ],
)
async def test_the_same_request_id_with_another_request_is_refused(fleet: Fleet, other: object) -> None:
    await fleet.with_node(browsers=tuple(BrowserType))
    session = await fleet.create(request=_ONCE)
    with pytest.raises(RequestIdReused) as refusal:
        await fleet.create(request=other)  # type: ignore[arg-type]  # parameters have no type of their own
    assert refusal.value.metadata == {"session_id": session.id}


async def test_labels_in_another_order_are_the_same_request(fleet: Fleet) -> None:
    await fleet.with_node()
    one = await fleet.create(request=a_request(request_id="once", labels={"a": "1", "b": "2"}))
    other = await fleet.create(request=a_request(request_id="once", labels={"b": "2", "a": "1"}))
    assert one.id == other.id


async def test_another_organization_may_use_the_same_request_id(fleet: Fleet) -> None:
    await fleet.with_node()
    mine = await fleet.create(request=_ONCE)
    theirs = await fleet.create(caller=a_caller(organization_id=OTHER_ORGANIZATION), request=_ONCE)
    assert theirs.id != mine.id


async def test_a_request_id_of_an_ended_session_returns_it(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=_ONCE)
    await fleet.close(session)
    assert (await fleet.create(request=_ONCE)).state is SessionState.CLOSED


async def test_a_create_that_a_dead_process_left_half_way_is_finished_by_the_same_call_again(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.may_start.clear()
    left = await fleet.create(request=_ONCE, wait=timedelta(0))
    # The process that was at it is gone, and so is its work.
    fleet.gateway.may_start = asyncio.Event()
    fleet.gateway.may_start.set()
    session = await fleet.create(request=_ONCE)
    assert (session.id, session.state, session.epoch) == (left.id, SessionState.RUNNING, 1)
    assert fleet.slots_used(registration) == 1


# ---- capacity


async def test_callers_who_race_for_the_last_slots_get_no_more_than_there_are(fleet: Fleet) -> None:
    nodes = [await fleet.with_node(name=name, slots=2) for name in ("node-a", "node-b")]
    request = a_request(queue_timeout=timedelta(0))
    outcomes = await asyncio.gather(*(fleet.create(request=request) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(outcome, Session) for outcome in outcomes) == 4
    assert sum(isinstance(outcome, NoCapacity) for outcome in outcomes) == 46
    assert [fleet.slots_used(node) for node in nodes] == [2, 2]


async def test_a_node_that_registered_a_moment_ago_is_found_by_whoever_finds_no_other(fleet: Fleet) -> None:
    await fleet.with_node(name="node-a", slots=1)
    await fleet.create()
    await fleet.with_node(name="node-b", slots=1, browsers=tuple(BrowserType))
    assert (await fleet.create()).state is SessionState.RUNNING


# ---- starts that fail


@pytest.mark.parametrize("browser_type", list(BrowserType))
async def test_a_browser_that_no_node_has_is_refused_at_once(fleet: Fleet, browser_type: BrowserType) -> None:
    (other,) = set(BrowserType) - {browser_type}
    await fleet.with_node(browsers=(other,))
    with pytest.raises(NoCapableNode):
        await fleet.create(request=a_request(browser_type=browser_type))
    assert fleet.database.sessions() == []


@pytest.mark.parametrize(
    "error", [BrowserStartFailed("Chrome did not start."), NodeUnavailable("The node does not answer.")]
)
async def test_a_failed_start_fails_the_session_and_gives_its_slot_back(
    fleet: Fleet, error: BrowserStartFailed | NodeUnavailable
) -> None:
    registration = await fleet.with_node()
    fleet.gateway.start_fails_with = error
    with pytest.raises(type(error)) as failure:
        await fleet.create(request=_ONCE)
    (session,) = fleet.database.sessions()
    assert (session.state, session.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert session.close_message == error.message
    assert failure.value.metadata["session_id"] == session.id
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id) == ["created", "failed"]
    assert fleet.database.usage() == []
    assert (await fleet.create(request=_ONCE)).state is SessionState.FAILED


async def test_a_session_moves_on_when_its_node_does_not_answer(fleet: Fleet) -> None:
    dead = await fleet.with_node(name="node-a", slots=3)
    alive = await fleet.with_node(name="node-b", slots=2)
    fleet.gateway.silent_nodes = {dead.node_id}
    session = await fleet.create()
    assert session.state is SessionState.RUNNING
    assert session.holder == (alive.node_id, 2)
    assert (fleet.slots_used(dead), fleet.slots_used(alive)) == (0, 1)
    assert fleet.database.types_of(session.id) == ["created", "started"]


async def test_a_session_fails_when_no_node_answers(fleet: Fleet) -> None:
    nodes = [await fleet.with_node(name=name) for name in ("node-a", "node-b", "node-c", "node-d")]
    fleet.gateway.silent_nodes = {node.node_id for node in nodes}
    with pytest.raises(NodeUnavailable):
        await fleet.create()
    (session,) = fleet.database.sessions()
    assert (session.state, session.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert session.epoch == 3
    assert [fleet.slots_used(node) for node in nodes] == [0, 0, 0, 0]


@pytest.mark.parametrize("callers", [2, 5])
async def test_creates_with_one_request_id_agree_on_where_a_session_moved(fleet: Fleet, callers: int) -> None:
    dead = await fleet.with_node(name="node-a", slots=3)
    alive = await fleet.with_node(name="node-b", slots=2)
    fleet.gateway.silent_nodes = {dead.node_id}
    fleet.gateway.may_start.clear()
    creates = [asyncio.create_task(fleet.create(request=_ONCE)) for _ in range(callers)]
    await settled()
    fleet.gateway.may_start.set()
    created = await asyncio.gather(*creates)
    assert {(session.state, session.holder) for session in created} == {(SessionState.RUNNING, (alive.node_id, 2))}
    assert (fleet.slots_used(dead), fleet.slots_used(alive)) == (0, 1)


async def test_a_browser_that_came_up_where_the_session_is_no_more_is_stopped() -> None:
    gateway = _OnceSilent()
    async with a_fleet(gateway=gateway) as fleet:
        slow = await fleet.with_node(name="node-a", slots=3)
        good = await fleet.with_node(name="node-b", slots=2)
        gateway.may_start.clear()
        creates = [asyncio.create_task(fleet.create(request=_ONCE)) for _ in range(2)]
        await settled()
        gateway.may_start.set()
        created = await asyncio.gather(*creates)
        assert {(session.state, session.holder) for session in created} == {(SessionState.RUNNING, (good.node_id, 2))}
        assert [session_id for session_id, _ in gateway.stopped] == [created[0].id]
        assert (fleet.slots_used(slow), fleet.slots_used(good)) == (0, 1)


async def test_a_session_that_is_closed_while_it_moves_on_stays_closed(fleet: Fleet) -> None:
    dead = await fleet.with_node(name="node-a", slots=3)
    await fleet.with_node(name="node-b", slots=2)
    fleet.gateway.silent_nodes = {dead.node_id}
    fleet.gateway.may_start.clear()
    creating = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    (session,) = fleet.database.sessions()
    closed = await fleet.close(session)
    fleet.gateway.may_start.set()
    with pytest.raises(NodeUnavailable):
        await creating
    (final,) = fleet.database.sessions()
    assert (final.state, final.close_reason) == (closed.state, CloseReason.USER_REQUESTED)
    assert fleet.slots_used(dead) == 0


async def test_a_node_that_refuses_a_start_counts_as_a_failed_start(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.start_fails_with = ResourceExhausted("The node is full.")
    with pytest.raises(BrowserStartFailed):
        await fleet.create()
    assert fleet.slots_used(registration) == 0


async def test_closing_a_starting_session_ends_it_and_the_create_fails(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    (starting,) = fleet.database.sessions()
    closed = await fleet.close(starting)
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    fleet.gateway.may_start.set()
    with pytest.raises(SessionNotOpen) as refusal:
        await create
    assert refusal.value.metadata == {
        "session_id": starting.id,
        "state": "CLOSED",
        "close_reason": "USER_REQUESTED",
    }
    # The browser that came up after all is stopped.
    assert fleet.gateway.stopped[-1] == (starting.id, CloseReason.USER_REQUESTED)
    assert fleet.slots_used(registration) == 0
    assert fleet.database.usage() == []
