"""NodeService as nodes, operators and the reaper see it when they ask well."""

from datetime import timedelta

import pytest

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.times import duration
from session_api.domain.session import SessionState
from tests.support.fleet_builders import NOON
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.fleet import LEASE
from tests.unit.session_api.messages import a_creation, a_registration, lasting

_HOUR = timedelta(hours=1)
_DRAINING = node_pb2.Node.STATE_DRAINING


async def _node(entry: Entry) -> node_pb2.Node:
    request = node_service_pb2.GetNodeRequest(node_id=entry.node_id)
    return await entry.call(entry.door.nodes.GetNode, request, key=entry.service)


async def _drain(entry: Entry, **fields: object) -> node_pb2.Node:
    request = node_service_pb2.DrainNodeRequest(node_id=entry.node_id, **fields)  # type: ignore[arg-type]  # fields
    return await entry.call(entry.door.nodes.DrainNode, request, key=entry.service)


async def _list(entry: Entry, **fields: object) -> node_service_pb2.ListNodesResponse:
    request = node_service_pb2.ListNodesRequest(**fields)  # type: ignore[arg-type]  # fields
    return await entry.call(entry.door.nodes.ListNodes, request, key=entry.service)


async def _reap(entry: Entry) -> node_service_pb2.ReapNodesResponse:
    return await entry.call(entry.door.nodes.ReapNodes, node_service_pb2.ReapNodesRequest(), key=entry.service)


async def _larger_node(entry: Entry) -> node_service_pb2.RegisterNodeResponse:
    """Register a node that is chosen next."""
    registration = await entry.register(a_registration(name="node-b", slots=9))
    # New nodes are seen with the next picture of the fleet.
    entry.fleet.clock.step(timedelta(seconds=1))
    return registration


# ---- nodes


async def test_a_node_registers_beats_and_hears_what_it_needs(entry: Entry) -> None:
    registration = await entry.register(a_registration(name="node-a", slots=4))
    assert registration.node_id == entry.node_id
    assert registration.heartbeat_interval.ToTimedelta() == timedelta(seconds=5)
    assert registration.isolation_budget.ToTimedelta() == timedelta(seconds=120)
    assert "PUBLIC KEY" in registration.token_public_key
    session = await entry.create(lasting(5))
    report = node_service_pb2.HeartbeatRequest(
        node_id=registration.node_id,
        registration_id=registration.registration_id,
        running=[
            node_pb2.RunningBrowser(session_id=session.id, epoch=1, client_count=2, viewer_count=1),
            node_pb2.RunningBrowser(session_id=entry.closed, epoch=1),
        ],
        pressure=node_pb2.NodePressure(cpu=0.5, memory=0.25),
    )
    answer = await entry.beat(report)
    assert [(row.session_id, row.epoch) for row in answer.assignments] == [(session.id, 1)]
    assert answer.assignments[0].remaining.ToTimedelta() == timedelta(minutes=5)
    assert answer.heartbeat_interval.ToTimedelta() == timedelta(seconds=5)
    stored = await entry.get(session.id)
    assert (stored.client_count, stored.viewer_count) == (2, 1)
    pressure = (await _node(entry)).pressure
    assert (pressure.cpu, pressure.memory) == (0.5, 0.25)


@pytest.mark.parametrize("reason", [0, 6, 10, 99])
async def test_a_reason_that_this_version_does_not_know_counts_as_a_crash(entry: Entry, reason: int) -> None:
    registration = await _larger_node(entry)
    session = await entry.create(a_creation())
    ended = node_pb2.EndedBrowser(session_id=session.id, epoch=1, close_reason=reason)  # type: ignore[arg-type]  # a newer node's
    await entry.beat(
        node_service_pb2.HeartbeatRequest(
            node_id=registration.node_id, registration_id=registration.registration_id, ended=[ended]
        )
    )
    expected = session_pb2.CLOSE_REASON_OUT_OF_MEMORY if reason == 10 else session_pb2.CLOSE_REASON_BROWSER_CRASHED
    assert (await entry.get(session.id)).close_reason == expected


async def test_whatever_a_node_says_of_an_end_is_cut_to_what_can_be_kept(entry: Entry) -> None:
    registration = await _larger_node(entry)
    session = await entry.create(a_creation())
    ended = node_pb2.EndedBrowser(session_id=session.id, epoch=1, message="a\0b" + "x" * 1000)
    await entry.beat(
        node_service_pb2.HeartbeatRequest(
            node_id=registration.node_id, registration_id=registration.registration_id, ended=[ended]
        )
    )
    assert (await entry.get(session.id)).close_message == "ab" + "x" * 498


async def test_a_browser_type_that_this_version_does_not_know_is_left_out(entry: Entry) -> None:
    browsers = [
        node_pb2.InstalledBrowser(browser_type=99, product="Firefox/200"),  # type: ignore[arg-type]  # a newer node's
        node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE, product="Edg/1"),
    ]
    await entry.register(a_registration(browsers=browsers))
    edge = a_creation(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))
    assert (await entry.create(edge)).spec.browser_type == browser_pb2.BROWSER_TYPE_MSEDGE


async def test_a_node_says_what_it_can_do_and_what_stands_ready(entry: Entry) -> None:
    lean = browser_pb2.BROWSER_TIER_LEAN
    can = node_pb2.NodeCapabilities(tiers=[lean], proxy_locations=["US", "DE"], extensions=["ad-blocker"])
    # A newer node's tier is not one that this version could ask for.
    can.tiers.append(99)  # type: ignore[arg-type]
    registration = await entry.register(a_registration(name="node-a", capabilities=can))
    report = node_service_pb2.HeartbeatRequest(
        node_id=registration.node_id, registration_id=registration.registration_id, warm_browsers=3
    )
    await entry.beat(report)
    node = await _node(entry)
    assert (list(node.capabilities.tiers), node.warm_browsers) == ([lean], 3)
    assert list(node.capabilities.proxy_locations) == ["DE", "US"]
    assert list(node.capabilities.extensions) == ["ad-blocker"]


async def test_a_node_that_says_nothing_has_the_full_tier_alone(entry: Entry) -> None:
    full = node_pb2.NodeCapabilities(tiers=[browser_pb2.BROWSER_TIER_FULL])
    assert (await _node(entry)).capabilities == full


# ---- operators


async def test_a_node_is_shown_with_what_it_runs(entry: Entry) -> None:
    node = await _node(entry)
    assert (node.name, node.state, node.slots, node.slots_used) == ("node-a", node_pb2.Node.STATE_ACTIVE, 3, 1)
    assert (node.address, node.attach_url) == ("127.0.0.1:1", "ws://127.0.0.1:1")
    assert [(row.browser_type, row.product) for row in node.browsers] == [
        (browser_pb2.BROWSER_TYPE_CHROME, "Chrome/150.0")
    ]
    (held,) = node.sessions
    assert (held.session_id, held.organization_id) == (entry.running, "o_acme")
    assert held.state == session_pb2.Session.STATE_RUNNING
    assert held.expire_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + 2 * _HOUR
    assert (node.HasField("pressure"), node.HasField("drain_time")) == (False, False)


async def test_nodes_are_listed_page_by_page_without_what_they_run(entry: Entry) -> None:
    await entry.register(a_registration(name="node-b"))
    first = await _list(entry, page_size=1)
    rest = await _list(entry, page_size=1, page_token=first.next_page_token)
    assert [node.name for node in [*first.nodes, *rest.nodes]] == ["node-a", "node-b"]
    assert rest.next_page_token == ""
    assert not first.nodes[0].sessions


async def test_nodes_are_listed_by_state(entry: Entry) -> None:
    await entry.register(a_registration(name="node-b"))
    await _drain(entry)
    assert [node.id for node in (await _list(entry, states=[_DRAINING])).nodes] == [entry.node_id]
    assert len((await _list(entry, states=[node_pb2.Node.STATE_UNSPECIFIED])).nodes) == 2
    assert len((await _list(entry, states=[node_pb2.Node.STATE_LOST])).nodes) == 0


async def test_a_node_is_cordoned_and_uncordoned(entry: Entry) -> None:
    cordon = node_service_pb2.CordonNodeRequest(node_id=entry.node_id)
    node = await entry.call(entry.door.nodes.CordonNode, cordon, key=entry.service)
    assert node.state == node_pb2.Node.STATE_CORDONED
    uncordon = node_service_pb2.UncordonNodeRequest(node_id=entry.node_id)
    node = await entry.call(entry.door.nodes.UncordonNode, uncordon, key=entry.service)
    assert node.state == node_pb2.Node.STATE_ACTIVE


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, _HOUR),
        ({"mode": node_service_pb2.DrainNodeRequest.MODE_WAIT}, _HOUR),
        ({"timeout": duration(timedelta(seconds=1))}, timedelta(seconds=1)),
        ({"timeout": duration(25 * _HOUR)}, 25 * _HOUR),
    ],
)
async def test_a_drain_waits_for_an_hour_or_as_long_as_it_says(
    entry: Entry, fields: dict[str, object], expected: timedelta
) -> None:
    node = await _drain(entry, **fields)
    assert node.state == _DRAINING
    assert node.drain_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR + expected
    assert (await entry.get(entry.running)).state == session_pb2.Session.STATE_RUNNING
    entry.fleet.clock.step(expected)
    assert (await _reap(entry)).drained_session_count == 1


async def test_a_drain_that_closes_empties_the_node_whatever_timeout_it_says(entry: Entry) -> None:
    await _drain(entry, mode=node_service_pb2.DrainNodeRequest.MODE_CLOSE, timeout=duration(_HOUR))
    running = entry.fleet.database.sessions()[0].id
    await entry.fleet.in_state(running, SessionState.CLOSED)
    assert (await entry.get(entry.running)).close_reason == session_pb2.CLOSE_REASON_NODE_DRAINED
    assert (await _node(entry)).slots_used == 0


# ---- the reaper


async def test_a_pass_counts_what_it_did(entry: Entry) -> None:
    for _ in range(4):
        await _reap(entry)
        entry.fleet.clock.step(LEASE / 3)
    answer = await _reap(entry)
    counts = (answer.lost_count, answer.failed_session_count, answer.drained_session_count)
    assert counts == (1, 1, 0)
    session = await entry.get(entry.running)
    assert session.close_reason == session_pb2.CLOSE_REASON_NODE_LOST
    assert (await _node(entry)).state == node_pb2.Node.STATE_LOST
