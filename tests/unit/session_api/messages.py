"""Requests to the front door, good ones and bad ones, and what its refusals say."""

from datetime import timedelta

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from browserfleet.browser.v1 import browser_pb2
from browserfleet.error.v1 import error_reason_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_service_pb2
from fleetkit.rpc.status import from_rpc_error
from fleetkit.rpc.times import duration


def a_creation(**fields: object) -> session_service_pb2.CreateSessionRequest:
    return session_service_pb2.CreateSessionRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def lasting(minutes: float) -> session_service_pb2.CreateSessionRequest:
    return a_creation(timeout=duration(timedelta(minutes=minutes)))


def a_registration(**changes: object) -> node_service_pb2.RegisterNodeRequest:
    fields: dict[str, object] = {
        "name": "node-x",
        "address": "127.0.0.1:1",
        "attach_url": "ws://127.0.0.1:2",
        "slots": 1,
        "browsers": [node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_CHROME, product="Chrome/1")],
    }
    return node_service_pb2.RegisterNodeRequest(**fields | changes)  # type: ignore[arg-type]  # wrong on purpose


def a_list(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return session_service_pb2.ListSessionsRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def filtered(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return a_list(filter=session_service_pb2.SessionFilter(**fields))  # type: ignore[arg-type]  # wrong on purpose


def reason_of(error: grpc.aio.AioRpcError) -> str | None:
    """Return the reason of a refusal, None where gRPC itself refused; every reason is one that the contract lists."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "browserfleet"
            assert f"ERROR_REASON_{info.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118  # not a dict
            return str(info.reason)
    return None


def retry_after(error: grpc.aio.AioRpcError) -> timedelta | None:
    """Return when a refusal asks to try again."""
    return from_rpc_error(error).retry_after


def metadata_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return what a refusal says for programs."""
    return from_rpc_error(error).metadata


def fields_of(message: Message) -> set[str]:
    """Return the names of the fields that are set."""
    return {field.name for field, _ in message.ListFields()}
