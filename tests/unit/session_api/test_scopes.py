"""Which keys may call which method of the front door: every method of every service."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from session_api.domain.caller import Scope
from tests.unit.session_api.entry import Entry, Metadata
from tests.unit.session_api.messages import reason_of
from tests.unit.session_api.refusals import NO_KEY, SCOPE, refusal_of

_NODE = {Scope.NODE}
_SESSIONS = {Scope.MEMBER, Scope.ADMIN, Scope.SERVICE}
_ADMIN = {Scope.ADMIN, Scope.SERVICE}
_SERVICE = {Scope.SERVICE}

_ALLOWED: dict[str, set[Scope]] = {
    "session.v1.SessionService/CreateSession": _SESSIONS,
    "session.v1.SessionService/GetSession": _SESSIONS,
    "session.v1.SessionService/ListSessions": _SESSIONS,
    "session.v1.SessionService/WatchSessions": _SESSIONS,
    "session.v1.SessionService/ExtendSession": _SESSIONS,
    "session.v1.SessionService/CloseSession": _SESSIONS,
    "session.v1.SessionService/OccupySession": _SESSIONS,
    "session.v1.SessionService/ReleaseSession": _SESSIONS,
    "session.v1.SessionService/TakeControl": _SESSIONS,
    "session.v1.SessionService/ReleaseControl": _SESSIONS,
    "session.v1.SessionService/CreateAttachEndpoint": _SESSIONS,
    "session.v1.SessionService/ReapSession": _SERVICE,
    "node.v1.NodeService/RegisterNode": _NODE,
    "node.v1.NodeService/Heartbeat": _NODE,
    "node.v1.NodeService/GetNode": _SERVICE,
    "node.v1.NodeService/ListNodes": _SERVICE,
    "node.v1.NodeService/CordonNode": _SERVICE,
    "node.v1.NodeService/UncordonNode": _SERVICE,
    "node.v1.NodeService/DrainNode": _SERVICE,
    "node.v1.NodeService/ReapNodes": _SERVICE,
    "organization.v1.OrganizationService/CreateOrganization": _SERVICE,
    "organization.v1.OrganizationService/GetOrganization": _ADMIN,
    "organization.v1.OrganizationService/ListOrganizations": _SERVICE,
    "organization.v1.OrganizationService/UpdateOrganization": _SERVICE,
    "organization.v1.OrganizationService/CreateApiKey": _ADMIN,
    "organization.v1.OrganizationService/ListApiKeys": _ADMIN,
    "organization.v1.OrganizationService/RotateApiKey": _ADMIN,
    "organization.v1.OrganizationService/RevokeApiKey": _ADMIN,
    "usage.v1.UsageService/ListUsageRecords": _ADMIN,
    "usage.v1.UsageService/SumUsage": _ADMIN,
    "usage.v1.UsageService/ExportUsage": _ADMIN,
    "artifact.v1.ArtifactService/UploadArtifact": _SESSIONS,
    "artifact.v1.ArtifactService/GetArtifact": _SESSIONS,
    "artifact.v1.ArtifactService/ListArtifacts": _SESSIONS,
}
_OPEN = ("grpc.health.", "grpc.reflection.")
# No message of any type: it is looked at once the key is found good.
_GARBAGE = b"\xff\xff\xff"


def _descriptor(name: str) -> MethodDescriptor:
    service, _, method = name.partition("/")
    found: MethodDescriptor = (
        descriptor_pool.Default().FindServiceByName(f"browserfleet.{service}").methods_by_name[method]
    )
    return found


async def _call(entry: Entry, name: str, key: Metadata) -> None:
    method, path, channel = _descriptor(name), f"/browserfleet.{name}", entry.door.channel
    if method.client_streaming:
        upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
        await upload(iter([_GARBAGE]), metadata=key, timeout=10)
    elif method.server_streaming:
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
        answers: AsyncIterator[bytes] = aiter(stream(_GARBAGE, metadata=key, timeout=10))
        await anext(answers)
    else:
        await entry.raw(path, _GARBAGE, key=key)


@pytest.mark.parametrize("name", list(_ALLOWED))
async def test_a_method_is_for_the_keys_that_the_table_names(entry: Entry, name: str) -> None:
    keys = {Scope.MEMBER: entry.member, Scope.ADMIN: entry.admin, Scope.SERVICE: entry.service, Scope.NODE: entry.node}
    for scope, key in keys.items():
        refusal = await refusal_of(_call(entry, name, key))
        outcome = (refusal.code().name, reason_of(refusal))
        if scope in _ALLOWED[name]:
            # Let in, and told what is wrong with the request.
            assert outcome in {("INVALID_ARGUMENT", "INVALID_REQUEST"), ("UNIMPLEMENTED", "SERVED_ELSEWHERE")}
        else:
            assert outcome == SCOPE
    for nobody in ((), entry.revoked):
        refusal = await refusal_of(_call(entry, name, nobody))
        assert (refusal.code().name, reason_of(refusal)) == NO_KEY


async def test_no_method_of_the_front_door_is_missing_from_the_table(entry: Entry) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(entry.door.channel)  # type: ignore[arg-type]  # an aio channel
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflection.ServerReflectionInfo(iter([ask]), timeout=10)  # type: ignore[operator]  # untyped
    services = [service.name async for answer in call for service in answer.list_services_response.service]
    methods = {
        f"{name.removeprefix('browserfleet.')}/{method.name}"
        for name in services
        if not name.startswith(_OPEN)
        for method in descriptor_pool.Default().FindServiceByName(name).methods
    }
    assert methods == set(_ALLOWED)


@pytest.mark.parametrize("scope", list(Scope))
def test_no_scope_is_without_a_method(scope: Scope) -> None:
    assert any(scope in allowed for allowed in _ALLOWED.values())
