"""The front door as its clients see it when they ask well."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.unit.session_api.entry import Entry, a_creation, a_list, a_registration, filtered, lasting, reason_of


async def test_a_created_session_can_be_attached_to(entry: Entry) -> None:
    session = await entry.create(lasting(5))
    assert session.state == session_pb2.Session.STATE_RUNNING
    assert (session.open, session.epoch, session.browser.product) == (True, 1, "Chrome/150.0")
    assert session.cdp_url == f"http://edge.test/attach/{session.id}"
    assert session.attach.direct_url.startswith(f"ws://127.0.0.1:1/attach/{session.id}?token=")
    assert session.attach.edge_url.startswith(f"ws://edge.test/attach/{session.id}?token=")


async def test_a_full_fleet_says_when_to_try_again(entry: Entry) -> None:
    await entry.create(a_creation())
    await entry.create(a_creation())
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await entry.create(a_creation())
    assert (refusal.value.code().name, reason_of(refusal.value)) == ("RESOURCE_EXHAUSTED", "NO_CAPACITY")
    status = rpc_status.from_call(refusal.value)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def test_closing_a_closed_session_answers_with_it(entry: Entry) -> None:
    session = await entry.close(entry.closed)
    assert session.state == session_pb2.Session.STATE_CLOSED
    assert session.close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED
    assert not session.HasField("attach")


@pytest.mark.parametrize("request_id", ["", "x", "x" * 128, "!~"])
async def test_a_request_id_of_up_to_128_printable_characters_is_good(entry: Entry, request_id: str) -> None:
    assert (await entry.create(a_creation(request_id=request_id))).id


@pytest.mark.parametrize("minutes", [5, 1440])
async def test_a_timeout_at_the_ends_of_the_range_is_good(entry: Entry, minutes: int) -> None:
    session = await entry.create(lasting(minutes))
    assert session.timeout.ToTimedelta() == timedelta(minutes=minutes)


async def test_an_enormous_page_is_reduced_and_attach_addresses_are_left_out(entry: Entry) -> None:
    answer = await entry.list(a_list(page_size=10**9))
    assert [session.id for session in answer.sessions] == sorted([entry.closed, entry.running], reverse=True)
    assert not any(session.HasField("attach") for session in answer.sessions)
    assert answer.next_page_token == ""


async def test_pages_follow_one_another_and_belong_to_their_query(entry: Entry) -> None:
    first = await entry.list(a_list(page_size=1))
    second = await entry.list(a_list(page_size=1, page_token=first.next_page_token))
    assert [first.sessions[0].id, second.sessions[0].id] == sorted([entry.closed, entry.running], reverse=True)
    foreign = [
        entry.list(a_list(page_token=first.next_page_token), metadata=entry.stranger),
        entry.list(a_list(page_token=first.next_page_token, filter=session_service_pb2.SessionFilter(node_id="nod_x"))),
    ]
    for attempt in foreign:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await attempt
        assert reason_of(refusal.value) == "INVALID_PAGE_TOKEN"


async def test_a_service_key_lists_every_organization(entry: Entry) -> None:
    mine = await entry.list(a_list(), metadata=entry.stranger)
    all_of_them = await entry.list(filtered(states=[session_pb2.Session.STATE_RUNNING]), metadata=entry.service)
    assert len(mine.sessions) == 0
    assert [session.id for session in all_of_them.sessions] == [entry.running]


async def test_reaping_before_the_deadline_returns_the_running_session(entry: Entry) -> None:
    session = await entry.reap(entry.running, metadata=entry.service)
    assert session.state == session_pb2.Session.STATE_RUNNING
    entry.fleet.clock.step(timedelta(minutes=60))
    session = await entry.reap(entry.running, metadata=entry.service)
    assert session.close_reason == session_pb2.CLOSE_REASON_TIMED_OUT


async def test_a_node_registers_beats_and_hears_what_it_needs(entry: Entry) -> None:
    registration = await entry.register(a_registration(name="node-a", slots=4))
    assert registration.heartbeat_interval.ToTimedelta() == timedelta(seconds=5)
    assert registration.isolation_budget.ToTimedelta() == timedelta(seconds=120)
    assert "PUBLIC KEY" in registration.token_public_key
    session = await entry.create(lasting(5))
    report = node_service_pb2.HeartbeatRequest(
        node_id=registration.node_id, registration_id=registration.registration_id
    )
    answer = await entry.beat(report)
    assert [(row.session_id, row.epoch) for row in answer.assignments] == [(session.id, 1)]


@pytest.mark.parametrize("reason", [0, 6, 10, 99])
async def test_a_reason_that_this_version_does_not_know_counts_as_a_crash(entry: Entry, reason: int) -> None:
    registration = await entry.register(a_registration(name="node-b", slots=9))
    session = await entry.create(a_creation())
    ended = node_pb2.EndedBrowser(session_id=session.id, epoch=1, close_reason=reason)  # type: ignore[arg-type]  # a newer node's
    await entry.beat(
        node_service_pb2.HeartbeatRequest(
            node_id=registration.node_id, registration_id=registration.registration_id, ended=[ended]
        )
    )
    expected = session_pb2.CLOSE_REASON_OUT_OF_MEMORY if reason == 10 else session_pb2.CLOSE_REASON_BROWSER_CRASHED
    assert (await entry.get(session.id)).close_reason == expected


async def test_a_browser_type_that_this_version_does_not_know_is_left_out(entry: Entry) -> None:
    browsers = [
        node_pb2.InstalledBrowser(browser_type=99, product="Firefox/200"),  # type: ignore[arg-type]  # a newer node's
        node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE, product="Edg/1"),
    ]
    await entry.register(a_registration(browsers=browsers))
    edge = a_creation(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))
    assert (await entry.create(edge)).spec.browser_type == browser_pb2.BROWSER_TYPE_MSEDGE


async def test_health_and_reflection_need_no_credentials(entry: Entry) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
        entry.door.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
    )
    for service in ("", "browserfleet.session.v1.SessionService", "browserfleet.node.v1.NodeService"):
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(entry.door.channel)  # type: ignore[arg-type]  # likewise
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflection.ServerReflectionInfo(iter([ask]), timeout=10)  # type: ignore[operator]  # untyped
    names = {service.name async for answer in call for service in answer.list_services_response.service}
    assert {"browserfleet.session.v1.SessionService", "browserfleet.artifact.v1.ArtifactService"} <= names


async def test_bytes_that_are_no_http2_close_the_connection_only(entry: Entry) -> None:
    host, _, port = entry.door.address.rpartition(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 10, b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 512, b"\xff" * 1024):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(10):
            while await reader.read(4096):
                pass
        writer.close()
    assert (await entry.get(entry.running)).id == entry.running
