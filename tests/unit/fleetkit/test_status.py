"""Typed errors there and back through a real server."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import grpc
import pytest

from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit import errors
from fleetkit.rpc.client import channel, typed_errors
from fleetkit.rpc.status import code_of, from_rpc_error
from tests.unit.fleetkit.double import serving_double

_KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FleetError) and kind is not errors.FleetError
]


def _raising(error: Exception) -> Callable[[], Awaitable[session_pb2.Session]]:
    async def behave() -> session_pb2.Session:
        raise error

    return behave


async def _through_a_server(error: errors.FleetError) -> errors.FleetError:
    async with serving_double(_raising(error)) as double:
        with pytest.raises(errors.FleetError) as failure, typed_errors():
            await double.get()
        return failure.value


@pytest.mark.parametrize("kind", _KINDS)
async def test_every_kind_of_error_comes_back_as_it_was_raised(kind: type[errors.FleetError]) -> None:
    back = await _through_a_server(kind("It is so: 100 %, größer.", session_id="pbs_1", limit="5"))
    assert type(back) is kind
    assert (back.reason, back.message) == (kind.reason, "It is so: 100 %, größer.")
    assert back.metadata == {"session_id": "pbs_1", "limit": "5"}
    assert back.retry_after is None


async def test_a_services_own_reason_comes_back_on_the_class_of_its_code() -> None:
    class NoCapacity(errors.ResourceExhausted):
        reason = "NO_CAPACITY"

    back = await _through_a_server(NoCapacity("Full.", retry_after=timedelta(seconds=2.5)))
    assert type(back) is errors.ResourceExhausted
    assert (back.reason, back.retry_after) == ("NO_CAPACITY", timedelta(seconds=2.5))


async def test_field_violations_come_back() -> None:
    back = await _through_a_server(errors.InvalidArgument("Wrong.", fields={"spec.a": "must be b"}))
    assert isinstance(back, errors.InvalidArgument)
    assert back.fields == {"spec.a": "must be b"}


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with channel("127.0.0.1:1", retries=False) as nowhere:
        call: grpc.aio.UnaryUnaryMultiCallable[session_service_pb2.GetSessionRequest, session_pb2.Session] = (
            nowhere.unary_unary("/x/y")
        )
        with pytest.raises(errors.Unavailable), typed_errors():
            await call(b"", timeout=5)  # type: ignore[arg-type]  # never serialized: nobody is there


@pytest.mark.parametrize(("details", "message"), [("Gone.", "Gone."), ("", "unavailable"), (None, "unavailable")])
def test_a_peer_without_our_details_is_understood_by_its_code(details: str | None, message: str) -> None:
    foreign = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    error = from_rpc_error(foreign)
    assert type(error) is errors.Unavailable
    assert error.message.lower() == message.lower()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED])
def test_codes_that_nobody_means_are_internal(code: grpc.StatusCode) -> None:
    error = from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "x"))
    assert code_of(error) is grpc.StatusCode.INTERNAL


def test_details_that_contradict_the_code_are_ignored() -> None:
    trailers: Mapping[str, bytes] = {"grpc-status-details-bin": b"\x08\x05"}
    metadata = grpc.aio.Metadata(*trailers.items())
    error = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), metadata, "x"))
    assert type(error) is errors.Aborted
