"""What every call passes on its way to a servicer, as clients see it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from browserfleet.browser.v1 import browser_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit import errors
from fleetkit.rpc.client import channel, typed_errors
from fleetkit.rpc.interceptors import check
from fleetkit.rpc.server import Service, serving
from tests.unit.fleetkit.double import Everybody, serving_double


async def _answer() -> session_pb2.Session:
    return session_pb2.Session(id="pbs_1")


async def _stumble() -> session_pb2.Session:
    raise RuntimeError("password=hunter2")


async def test_an_unexpected_error_is_internal_in_fixed_words_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving_double(_stumble) as double:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await double.get()
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert failure.value.details() == "An internal error happened; the log has it under this call's trace ID."
    assert "hunter2" not in repr(failure.value)
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.message for record in faults] == [
        "/browserfleet.session.v1.SessionService/GetSession failed unexpectedly"
    ]
    assert faults[0].exc_info is not None


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("password=hunter2")])
async def test_an_unexpected_error_of_the_authenticator_is_internal_too(error: Exception) -> None:
    async with serving_double(_answer, authenticator=Everybody(error)) as double:
        with pytest.raises(errors.Internal), typed_errors():
            await double.get()


async def test_a_timeout_inside_a_servicer_is_not_the_calls_deadline() -> None:
    async def time_out() -> session_pb2.Session:
        raise TimeoutError

    async with serving_double(time_out) as double:
        with pytest.raises(errors.Internal), typed_errors():
            await double.get()


async def test_a_call_without_a_deadline_ends_at_the_servers_limit() -> None:
    cancelled = asyncio.Event()

    async def hang() -> session_pb2.Session:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving_double(hang, unary_limit=timedelta(milliseconds=50)) as double:
        with pytest.raises(errors.DeadlineExceeded), typed_errors():
            await double.get(timeout=None)
        assert cancelled.is_set()
        with pytest.raises(errors.DeadlineExceeded), typed_errors():
            await double.get(timeout=100 * 24 * 3600)


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_a_callers_own_deadline_is_kept_and_the_server_goes_on(timeout: float) -> None:
    done = asyncio.Event()

    async def wait() -> session_pb2.Session:
        await done.wait()
        return session_pb2.Session()

    async with serving_double(wait) as double:
        with pytest.raises(errors.DeadlineExceeded), typed_errors():
            await double.get(timeout=timeout)
        done.set()
        await double.get()


async def test_a_caller_that_hangs_up_cancels_the_servicer_and_the_server_goes_on() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> session_pb2.Session:
        if begun.is_set():
            return session_pb2.Session()
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving_double(hang) as double:
        call = asyncio.create_task(double.get())
        await begun.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        await double.get()


async def test_a_caller_that_hangs_up_amid_an_upload_ends_it_at_the_server() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(requests: AsyncIterator[session_pb2.Session], context: object) -> session_pb2.Session:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    handler = grpc.stream_unary_rpc_method_handler(
        hang,
        request_deserializer=session_pb2.Session.FromString,
        response_serializer=session_pb2.Session.SerializeToString,
    )
    uploads = Service(
        "test.Uploads",
        lambda server: server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Uploads", {"Upload": handler}),)
        ),
    )
    async with (
        serving("127.0.0.1:0", [uploads], authenticator=Everybody()) as server,
        channel(f"127.0.0.1:{server.port}") as opened,
    ):
        stub: grpc.aio.StreamUnaryMultiCallable[session_pb2.Session, session_pb2.Session] = opened.stream_unary(
            "/test.Uploads/Upload",
            request_serializer=session_pb2.Session.SerializeToString,
            response_deserializer=session_pb2.Session.FromString,
        )

        async def upload() -> None:
            await stub(iter([session_pb2.Session()]))

        call = asyncio.create_task(upload())
        await begun.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_refused_request_never_reaches_the_servicer() -> None:
    async with serving_double(_stumble) as double:
        with pytest.raises(errors.InvalidArgument) as refusal, typed_errors():
            await double.stub.GetSession(session_service_pb2.GetSessionRequest(session_id="x"))
    assert set(refusal.value.fields) == {"session_id"}
    assert refusal.value.reason == "INVALID_REQUEST"


def test_every_wrong_field_is_named_by_its_path() -> None:
    request = session_service_pb2.ListSessionsRequest(
        page_size=-1,
        filter=session_service_pb2.SessionFilter(states=[session_pb2.Session.STATE_RUNNING, 77]),  # type: ignore[list-item]  # no state at all
    )
    with pytest.raises(errors.InvalidArgument) as refusal:
        check(request)
    assert set(refusal.value.fields) == {"page_size", "filter.states[1]"}


def test_a_request_that_keeps_the_rules_passes() -> None:
    check(session_service_pb2.CreateSessionRequest(spec=browser_pb2.BrowserSpec()))
