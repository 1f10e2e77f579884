"""A node as a process: registration, calls, signals, and what is left when it dies."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from browserfleet.node.v1 import browser_service_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.client import bearer
from fleetkit.rpc.status import from_rpc_error
from fleetkit.rpc.times import duration
from tests.support.fake_fleet import FakeFleet, NodeProcess, a_fleet, free_port
from tests.support.leftovers import Leftovers
from tests.support.node_fakes import SESSION
from tests.support.pages import FILE, serving_pages
from tests.support.real_browsers import RawClient, alive, processes_of, short_folder, until_ended
from tests.support.waiting import until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def fleet() -> AsyncIterator[FakeFleet]:
    async with a_fleet() as fleet:
        yield fleet


@pytest.fixture
async def node(fleet: FakeFleet) -> AsyncIterator[NodeProcess]:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state")
        async with node.ended_at_last():
            await node.start()
            yield node


async def browser_processes(node: NodeProcess) -> list[int]:
    main = await asyncio.to_thread(node.browser_pid)
    return [info.pid for info in await asyncio.to_thread(processes_of, main)]


async def test_a_session_from_start_to_stop(node: NodeProcess, fleet: FakeFleet) -> None:
    assert fleet.registrations[0].browsers[0].product.startswith("Chrome/")
    browser = await node.start_browser(trace=TRACE)
    assert browser.sandboxed
    await until(lambda: fleet.running == [SESSION])
    pids = await browser_processes(node)
    async with serving_pages() as site, connect(node.attach_url) as socket:
        client = RawClient(socket)
        await client.call("Target.createTarget", {"url": f"{site}/file"})
        await until(lambda: fleet.uploads and node.is_recording)
        async with node.calls() as calls:
            await calls.StopBrowser(
                browser_service_pb2.StopBrowserRequest(
                    session_id=SESSION, epoch=1, close_reason=session_pb2.CLOSE_REASON_USER_REQUESTED
                ),
                metadata=bearer(node.token()),
            )
        with pytest.raises(ConnectionClosed) as caught:
            await client.answer(0)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.reason == "session closed: USER_REQUESTED"
    await until_ended(pids, within=10)
    await until(lambda: len(fleet.uploads) == 2 and fleet.running == [])
    (download, body), (recording, video) = fleet.uploads
    assert (download.display_name, body) == ("table.csv", FILE)
    assert recording.run_id == download.run_id
    assert recording.content_type == "video/x-matroska"
    assert len(video) > 1000
    # Uploads belong to the trace of the call that started the browser.
    assert all(trace.split("-")[1] == TRACE.split("-")[1] for trace in fleet.upload_traces)
    assert not any(report.ended for report in fleet.heartbeats)


async def test_reports_say_how_idle_the_browsers_and_how_busy_the_machine_is(
    node: NodeProcess, fleet: FakeFleet
) -> None:
    await node.start_browser()

    # A report of before the browser was up says nothing of its idling.
    await until(lambda: fleet.running == [SESSION] and fleet.heartbeats[-1].running[0].HasField("input_idle"))
    await until(lambda: fleet.heartbeats[-1].HasField("pressure"))

    report = fleet.heartbeats[-1]
    assert report.running[0].input_idle.ToTimedelta() > timedelta(0)
    assert 0 < report.pressure.memory < 1


async def test_calls_without_the_right_token_are_refused(node: NodeProcess) -> None:
    request = browser_service_pb2.StopBrowserRequest(session_id=SESSION, epoch=1)
    async with node.calls() as calls:
        for metadata in ((), bearer("nonsense"), bearer(node.token(audience="node:nod_2"))):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.StopBrowser(request, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls.SetDeadline(
                browser_service_pb2.SetDeadlineRequest(
                    session_id=SESSION, epoch=1, remaining=duration(timedelta(minutes=1))
                ),
                metadata=bearer(node.token()),
            )
    assert from_rpc_error(caught.value).reason == "BROWSER_NOT_FOUND"


async def test_control_is_set_by_call_and_given_back_by_heartbeat(node: NodeProcess, fleet: FakeFleet) -> None:
    await node.start_browser()
    async with node.calls() as calls, connect(node.attach_url) as socket:
        client = RawClient(socket)
        page = await client.open_page()
        fleet.control_generation = 3
        request = browser_service_pb2.SetControlRequest(session_id=SESSION, epoch=1, generation=3, held=True)
        await calls.SetControl(request, metadata=bearer(node.token()))

        refused = await client.answer(await client.send("Input.insertText", {"text": "x"}, page))
        fleet.control_generation = 0
        reports = len(fleet.heartbeats)
        # The second report from now was answered with what is said now, and its answer is done with at the third.
        await until(lambda: len(fleet.heartbeats) > reports + 2)
        accepted = await client.answer(await client.send("Input.insertText", {"text": "x"}, page))

        request.epoch = 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls.SetControl(request, metadata=bearer(node.token()))
    assert refused["error"]["code"] == -32000
    assert "error" not in accepted
    assert from_rpc_error(caught.value).reason == "BROWSER_NOT_FOUND"


async def test_browsers_are_gone_within_two_seconds_of_a_killed_node(node: NodeProcess) -> None:
    await node.start_browser()
    pids = await browser_processes(node)
    assert len(pids) > 5

    await node.end(signal.SIGKILL)

    await until_ended(pids, within=2)


async def test_a_restarted_node_ends_what_hung_and_stores_what_was_left(fleet: FakeFleet) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        nowhere = f"127.0.0.1:{free_port()}"
        first = NodeProcess(fleet=fleet, state_dir=folder / "state", artifact_store_address=nowhere)
        await stack.enter_async_context(first.ended_at_last())
        await first.start()
        await first.start_browser()
        async with serving_pages() as site, connect(first.attach_url) as socket:
            client = RawClient(socket)
            await client.call("Target.createTarget", {"url": f"{site}/file"})
            spool = folder / "state" / "spool"
            await until(lambda: any(path.suffix == "" and path.is_file() for path in spool.iterdir()))
            pids = await browser_processes(first)
            os.kill(await asyncio.to_thread(first.browser_pid), signal.SIGSTOP)
            await first.end(signal.SIGKILL)
        assert await asyncio.to_thread(alive, pids) != []

        second = NodeProcess(fleet=fleet, state_dir=folder / "state")
        await stack.enter_async_context(second.ended_at_last())
        await second.start()

        assert await asyncio.to_thread(alive, pids) == []
        left = await asyncio.to_thread(Leftovers.now, node=second.pid, state_dir=folder / "state", scratch=folder / "b")
        assert (left.processes, left.zombies, left.folders, left.groups) == (0, 0, 0, 0)
        await until(lambda: any(body == FILE for _, body in fleet.uploads))
        assert await second.end(signal.SIGTERM) == 0


async def test_a_node_that_is_told_to_stop_reports_and_leaves_nothing(node: NodeProcess, fleet: FakeFleet) -> None:
    await node.start_browser()
    pids = await browser_processes(node)
    started = time.monotonic()

    assert await node.end(signal.SIGTERM) == 0

    assert time.monotonic() - started < 15
    assert await asyncio.to_thread(alive, pids) == []
    assert fleet.heartbeats[-1].draining
    ended = [browser for report in fleet.heartbeats for browser in report.ended]
    assert {(browser.session_id, browser.close_reason) for browser in ended} == {
        (SESSION, session_pb2.CLOSE_REASON_NODE_DRAINED)
    }


async def test_a_session_lives_on_while_its_node_drains_until_the_second_signal(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra={"FLEET_DRAIN_TIMEOUT": "1h"})
        async with node.ended_at_last():
            await node.start()
            await node.start_browser()
            async with connect(node.attach_url) as socket:
                client = RawClient(socket)
                node.send(signal.SIGTERM)
                await until(lambda: fleet.heartbeats[-1].draining)
                heartbeats = len(fleet.heartbeats)

                # The session goes on, heartbeats too, and nothing new is taken.
                await until(lambda: len(fleet.heartbeats) > heartbeats + 2)
                assert fleet.running == [SESSION]
                await client.call("Browser.getVersion")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await node.start_browser(epoch=2)
                assert from_rpc_error(refused.value).reason == "NODE_DRAINING"

                assert await node.end(signal.SIGTERM) == 0
                with pytest.raises(ConnectionClosed) as caught:
                    await client.answer(0)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.reason == "session closed: NODE_DRAINED"
    ended = [browser for report in fleet.heartbeats for browser in report.ended]
    assert {browser.close_reason for browser in ended} == {session_pb2.CLOSE_REASON_NODE_DRAINED}


async def test_a_drain_ends_with_its_last_session_and_is_over_in_time(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra={"FLEET_DRAIN_TIMEOUT": "2s"})
        async with node.ended_at_last():
            await node.start()
            await node.start_browser()
            started = time.monotonic()

            assert await node.end(signal.SIGTERM) == 0

            assert time.monotonic() - started > 2
    assert [browser.session_id for report in fleet.heartbeats for browser in report.ended][:1] == [SESSION]


async def test_a_node_with_a_full_disk_says_that_it_takes_nothing(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra={"FLEET_DISK_FULL_PERCENT": "1"})
        async with node.ended_at_last():
            await node.start()

            await until(lambda: fleet.heartbeats[-1].draining, within=20)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await node.start_browser()
            assert from_rpc_error(refused.value).reason == "NODE_DRAINING"


async def test_a_node_without_a_browser_does_not_start(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra={"FLEET_CHROME_BINARY": "/bin/false"})
        process = await node.spawn()

        async with asyncio.timeout(20):
            assert await process.wait() == 1

    assert fleet.registrations == []
