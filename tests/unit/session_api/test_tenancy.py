"""Another organization's resources at the front door: the answers of what never was, to the letter."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.duration_pb2 import Duration

from browserfleet.artifact.v1 import artifact_service_pb2
from browserfleet.organization.v1 import organization_pb2, organization_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.ids import RandomIds
from session_api.domain.caller import Scope
from tests.support.fleet_builders import OTHER_ORGANIZATION, a_session_id
from tests.unit.session_api.entry import OPERATOR, Entry, Metadata
from tests.unit.session_api.fleet import Fleet
from tests.unit.session_api.messages import reason_of
from tests.unit.session_api.refusals import refusal_of

Call = Callable[[Entry, str, Metadata], Awaitable[object]]

_MINUTE = Duration(seconds=60)

# Every method that names a session, but for those of operators, who see everything.
_OF_SESSIONS: dict[str, Call] = {
    "GetSession": lambda e, session_id, key: e.get(session_id, key=key),
    "CloseSession": lambda e, session_id, key: e.close(session_id, key=key),
    "ExtendSession": lambda e, session_id, key: e.extend(session_id, _MINUTE, key=key),
    "OccupySession": lambda e, session_id, key: e.call(
        e.door.sessions.OccupySession,
        session_service_pb2.OccupySessionRequest(
            session_id=session_id, holder_kind=session_pb2.HOLDER_KIND_TASK, holder_id="run-1"
        ),
        key=key,
    ),
    "ReleaseSession": lambda e, session_id, key: e.call(
        e.door.sessions.ReleaseSession,
        session_service_pb2.ReleaseSessionRequest(session_id=session_id, generation=1),
        key=key,
    ),
    "TakeControl": lambda e, session_id, key: e.call(
        e.door.sessions.TakeControl,
        session_service_pb2.TakeControlRequest(session_id=session_id, holder="Eve", take_over=True),
        key=key,
    ),
    "ReleaseControl": lambda e, session_id, key: e.call(
        e.door.sessions.ReleaseControl,
        session_service_pb2.ReleaseControlRequest(session_id=session_id, generation=1),
        key=key,
    ),
    "CreateAttachEndpoint": lambda e, session_id, key: e.call(
        e.door.sessions.CreateAttachEndpoint,
        session_service_pb2.CreateAttachEndpointRequest(session_id=session_id),
        key=key,
    ),
    "ListArtifacts": lambda e, session_id, key: e.call(
        e.door.artifacts.ListArtifacts,
        artifact_service_pb2.ListArtifactsRequest(session_id=session_id),
        key=key,
    ),
}
_OF_OPERATORS = {"ReapSession"}

_OF_ORGANIZATIONS: dict[str, Call] = {
    "GetOrganization": lambda e, organization_id, key: e.call(
        e.door.organizations.GetOrganization,
        organization_service_pb2.GetOrganizationRequest(organization_id=organization_id),
        key=key,
    ),
    "CreateApiKey": lambda e, organization_id, key: e.call(
        e.door.organizations.CreateApiKey,
        organization_service_pb2.CreateApiKeyRequest(
            organization_id=organization_id, scope=organization_pb2.SCOPE_MEMBER
        ),
        key=key,
    ),
    "ListApiKeys": lambda e, organization_id, key: e.call(
        e.door.organizations.ListApiKeys,
        organization_service_pb2.ListApiKeysRequest(organization_id=organization_id),
        key=key,
    ),
}

_OF_KEYS: dict[str, Call] = {
    "RotateApiKey": lambda e, key_id, key: e.call(
        e.door.organizations.RotateApiKey,
        organization_service_pb2.RotateApiKeyRequest(api_key_id=key_id),
        key=key,
    ),
    "RevokeApiKey": lambda e, key_id, key: e.call(
        e.door.organizations.RevokeApiKey,
        organization_service_pb2.RevokeApiKeyRequest(api_key_id=key_id),
        key=key,
    ),
}


def _all_of(error: grpc.aio.AioRpcError) -> tuple[object, ...]:
    """Return everything that a client sees of a refusal."""
    return (error.code(), error.details(), error.trailing_metadata(), error.initial_metadata())


async def _other_key(fleet: Fleet) -> str:
    organizations = fleet.plane.organizations
    new = await organizations.create_key(OPERATOR, OTHER_ORGANIZATION, scope=Scope.MEMBER, display_name="")
    return new.key.id


@pytest.mark.parametrize("method", list(_OF_SESSIONS))
async def test_another_organizations_session_is_told_from_an_absent_one_by_nothing(entry: Entry, method: str) -> None:
    call, before = _OF_SESSIONS[method], entry.fleet.database.sessions()
    foreign = await refusal_of(call(entry, entry.running, entry.stranger))
    absent = await refusal_of(call(entry, a_session_id(), entry.stranger))
    assert (foreign.code().name, reason_of(foreign)) == ("NOT_FOUND", "SESSION_NOT_FOUND")
    assert _all_of(foreign) == _all_of(absent)
    assert entry.fleet.database.sessions() == before


def test_no_method_that_names_a_session_is_missing_from_the_table() -> None:
    pool = descriptor_pool.Default()
    named = {
        method.name
        for service in ("session.v1.SessionService", "artifact.v1.ArtifactService")
        for method in pool.FindServiceByName(f"browserfleet.{service}").methods
        if "session_id" in method.input_type.fields_by_name
    }
    assert named == set(_OF_SESSIONS) | _OF_OPERATORS


@pytest.mark.parametrize("method", list(_OF_ORGANIZATIONS))
async def test_another_organization_is_told_from_an_absent_one_by_nothing(entry: Entry, method: str) -> None:
    call = _OF_ORGANIZATIONS[method]
    foreign = await refusal_of(call(entry, "o_other", entry.admin))
    absent = await refusal_of(call(entry, "o_nowhere", entry.admin))
    assert (foreign.code().name, reason_of(foreign)) == ("NOT_FOUND", "ORGANIZATION_NOT_FOUND")
    assert _all_of(foreign) == _all_of(absent)
    assert _all_of(foreign) == _all_of(await refusal_of(call(entry, "o_nowhere", entry.service)))


@pytest.mark.parametrize("method", list(_OF_KEYS))
async def test_another_organizations_key_is_told_from_an_absent_one_by_nothing(entry: Entry, method: str) -> None:
    call = _OF_KEYS[method]
    foreign = await refusal_of(call(entry, await _other_key(entry.fleet), entry.admin))
    absent = await refusal_of(call(entry, RandomIds().new("key"), entry.admin))
    assert (foreign.code().name, reason_of(foreign)) == ("NOT_FOUND", "API_KEY_NOT_FOUND")
    assert _all_of(foreign) == _all_of(absent)


async def test_an_admin_does_not_make_keys_for_operators(entry: Entry) -> None:
    for scope in (organization_pb2.SCOPE_SERVICE, organization_pb2.SCOPE_NODE):
        request = organization_service_pb2.CreateApiKeyRequest(organization_id="o_acme", scope=scope)
        refusal = await refusal_of(entry.call(entry.door.organizations.CreateApiKey, request, key=entry.admin))
        assert (refusal.code().name, reason_of(refusal)) == ("PERMISSION_DENIED", "SCOPE_MISSING")
