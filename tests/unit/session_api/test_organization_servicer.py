"""OrganizationService as operators and admins see it when they ask well."""

from datetime import timedelta

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from browserfleet.organization.v1 import organization_pb2, organization_service_pb2
from fleetkit.rpc.client import bearer
from fleetkit.rpc.times import duration
from tests.support.fleet_builders import NOON
from tests.unit.session_api.entry import Entry, Metadata
from tests.unit.session_api.messages import fields_of, reason_of
from tests.unit.session_api.refusals import refusal_of

_HOUR = timedelta(hours=1)
_LIMITS = organization_pb2.Limits(
    max_open_sessions=5, max_creates_per_minute=0, max_minutes_per_day=600, max_timeout=duration(_HOUR)
)


async def _create(entry: Entry, **fields: object) -> organization_pb2.Organization:
    request = organization_service_pb2.CreateOrganizationRequest(
        organization_id="o_new",
        organization=organization_pb2.Organization(**fields),  # type: ignore[arg-type]  # fields
    )
    return await entry.call(entry.door.organizations.CreateOrganization, request, key=entry.service)


async def _get(entry: Entry, key: Metadata, organization_id: str = "o_acme") -> organization_pb2.Organization:
    request = organization_service_pb2.GetOrganizationRequest(organization_id=organization_id)
    return await entry.call(entry.door.organizations.GetOrganization, request, key=key)


async def _update(
    entry: Entry, organization: organization_pb2.Organization, *paths: str
) -> organization_pb2.Organization:
    request = organization_service_pb2.UpdateOrganizationRequest(
        organization_id="o_acme", organization=organization, update_mask=FieldMask(paths=paths)
    )
    return await entry.call(entry.door.organizations.UpdateOrganization, request, key=entry.service)


async def _new_key(
    entry: Entry, scope: organization_pb2.Scope.ValueType = organization_pb2.SCOPE_MEMBER
) -> organization_service_pb2.CreateApiKeyResponse:
    request = organization_service_pb2.CreateApiKeyRequest(organization_id="o_acme", scope=scope, display_name="ci ü")
    return await entry.call(entry.door.organizations.CreateApiKey, request, key=entry.admin)


async def _is_good(entry: Entry, secret: str) -> bool:
    try:
        await entry.get(entry.running, key=bearer(secret))
    except grpc.aio.AioRpcError as error:
        assert reason_of(error) == "CREDENTIALS_INVALID"  # noqa: PT017  # either outcome is an answer
        return False
    return True


# ---- organizations


async def test_an_organization_is_made_with_what_it_may_use(entry: Entry) -> None:
    made = await _create(entry, limits=_LIMITS, weight=2.5, id="o_ignored")
    assert (made.id, made.limits, made.weight) == ("o_new", _LIMITS, 2.5)
    assert made.create_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR
    assert await _create(entry, limits=_LIMITS, weight=2.5) == made
    refusal = await refusal_of(_create(entry, limits=_LIMITS))
    assert (refusal.code().name, reason_of(refusal)) == ("ALREADY_EXISTS", "ORGANIZATION_EXISTS")


async def test_what_is_left_out_does_not_bound(entry: Entry) -> None:
    made = await _create(entry)
    assert (fields_of(made.limits), made.weight) == (set(), 1.0)


async def test_an_organization_is_shown_to_its_admins_and_to_operators(entry: Entry) -> None:
    assert (await _get(entry, entry.admin)).id == "o_acme"
    assert await _get(entry, entry.admin) == await _get(entry, entry.service)


async def test_organizations_are_listed_page_by_page(entry: Entry) -> None:
    found, token = [], ""
    for _ in range(2):
        request = organization_service_pb2.ListOrganizationsRequest(page_size=1, page_token=token)
        answer = await entry.call(entry.door.organizations.ListOrganizations, request, key=entry.service)
        found += [row.id for row in answer.organizations]
        token = answer.next_page_token
    assert (found, token) == (["o_acme", "o_other"], "")


async def test_an_update_changes_what_its_mask_names(entry: Entry) -> None:
    changes = organization_pb2.Organization(limits=_LIMITS, weight=3.0)
    assert (await _update(entry, changes, "weight")).limits == organization_pb2.Limits()
    updated = await _update(entry, changes, "limits")
    assert (updated.limits, updated.weight) == (_LIMITS, 3.0)
    # What is unset in a field that the mask names does not bound any more.
    assert fields_of((await _update(entry, organization_pb2.Organization(), "limits")).limits) == set()


async def test_an_update_without_a_mask_changes_everything(entry: Entry) -> None:
    updated = await _update(entry, organization_pb2.Organization(limits=_LIMITS, weight=3.0))
    assert (updated.limits, updated.weight) == (_LIMITS, 3.0)


# ---- keys


async def test_an_admin_makes_a_key_that_is_good_and_shows_its_secret_once(entry: Entry) -> None:
    new = await _new_key(entry)
    assert new.secret.startswith(new.api_key.prefix)
    assert (new.api_key.scope, new.api_key.display_name) == (organization_pb2.SCOPE_MEMBER, "ci ü")
    assert await _is_good(entry, new.secret)
    request = organization_service_pb2.ListApiKeysRequest(organization_id="o_acme", page_size=1)
    answer = await entry.call(entry.door.organizations.ListApiKeys, request, key=entry.admin)
    (key,) = answer.api_keys
    assert (key.id, key.HasField("last_use_time"), key.HasField("expire_time")) == (new.api_key.id, True, False)
    request.page_token = answer.next_page_token
    older = await entry.call(entry.door.organizations.ListApiKeys, request, key=entry.admin)
    assert older.api_keys[0].id < key.id


async def test_a_key_is_rotated_with_a_day_of_overlap(entry: Entry) -> None:
    old = await _new_key(entry, organization_pb2.SCOPE_ADMIN)
    request = organization_service_pb2.RotateApiKeyRequest(api_key_id=old.api_key.id)
    new = await entry.call(entry.door.organizations.RotateApiKey, request, key=entry.admin)
    assert (new.api_key.scope, new.api_key.display_name) == (organization_pb2.SCOPE_ADMIN, "ci ü")
    assert [await _is_good(entry, secret) for secret in (old.secret, new.secret)] == [True, True]
    entry.fleet.clock.step(24 * _HOUR)
    assert not await _is_good(entry, old.secret)


async def test_a_revoked_key_is_refused_at_once(entry: Entry) -> None:
    new = await _new_key(entry)
    assert await _is_good(entry, new.secret)
    request = organization_service_pb2.RevokeApiKeyRequest(api_key_id=new.api_key.id)
    for _ in range(2):
        key = await entry.call(entry.door.organizations.RevokeApiKey, request, key=entry.admin)
        assert key.expire_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR
    assert not await _is_good(entry, new.secret)


async def test_an_ended_key_is_not_rotated(entry: Entry) -> None:
    new = await _new_key(entry)
    revoke = organization_service_pb2.RevokeApiKeyRequest(api_key_id=new.api_key.id)
    await entry.call(entry.door.organizations.RevokeApiKey, revoke, key=entry.admin)
    rotate = organization_service_pb2.RotateApiKeyRequest(api_key_id=new.api_key.id)
    refusal = await refusal_of(entry.call(entry.door.organizations.RotateApiKey, rotate, key=entry.admin))
    assert (refusal.code().name, reason_of(refusal)) == ("FAILED_PRECONDITION", "API_KEY_REVOKED")
