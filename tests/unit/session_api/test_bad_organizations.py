"""OrganizationService against bad input: exact codes and reasons."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from browserfleet.organization.v1 import organization_pb2, organization_service_pb2
from tests.support.fleet_builders import ORGANIZATION
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.refusals import INVALID, Attempt, Refusal, see_refused

_NOT_FOUND: Refusal = ("NOT_FOUND", "ORGANIZATION_NOT_FOUND")


def _create(organization_id: str, **fields: object) -> Attempt:
    request = organization_service_pb2.CreateOrganizationRequest(
        organization_id=organization_id,
        organization=organization_pb2.Organization(**fields),  # type: ignore[arg-type]  # wrong on purpose
    )
    return lambda e: e.call(e.door.organizations.CreateOrganization, request, key=e.service)


def _limited(**limits: object) -> Attempt:
    return _create("o_new", limits=organization_pb2.Limits(**limits))  # type: ignore[arg-type]  # wrong on purpose


def _update(**changes: object) -> Attempt:
    fields: dict[str, object] = {"organization_id": "o_acme", "organization": organization_pb2.Organization()}
    request = organization_service_pb2.UpdateOrganizationRequest(**fields | changes)  # type: ignore[arg-type]  # wrong
    return lambda e: e.call(e.door.organizations.UpdateOrganization, request, key=e.service)


def _new_key(**changes: object) -> Attempt:
    fields: dict[str, object] = {"organization_id": "o_acme", "scope": organization_pb2.SCOPE_MEMBER}
    request = organization_service_pb2.CreateApiKeyRequest(**fields | changes)  # type: ignore[arg-type]  # wrong
    return lambda e: e.call(e.door.organizations.CreateApiKey, request, key=e.service)


def _rotate(key_id: str, overlap: Duration | None = None) -> Attempt:
    request = organization_service_pb2.RotateApiKeyRequest(api_key_id=key_id, overlap=overlap)
    return lambda e: e.call(e.door.organizations.RotateApiKey, request, key=e.admin)


def _revoke(key_id: str) -> Attempt:
    request = organization_service_pb2.RevokeApiKeyRequest(api_key_id=key_id)
    return lambda e: e.call(e.door.organizations.RevokeApiKey, request, key=e.admin)


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    "an organization without an ID is refused": (_create(""), INVALID),
    "an organization without a prefix is refused": (_create("acme"), INVALID),
    "an organization that is all prefix is refused": (_create("o_"), INVALID),
    "an organization in capitals is refused": (_create("o_Acme"), INVALID),
    "an organization ID of 64 characters is refused": (_create("o_" + "x" * 62), INVALID),
    "an organization ID that ends its line is refused": (_create("o_acme\n"), INVALID),
    "an organization ID with a NUL is refused": (_create("o_a\0b"), INVALID),
    "SQL is no organization": (_create("o_x'; DROP TABLE fleet.organization; --"), INVALID),
    "a negative weight is refused": (_create("o_new", weight=-1.0), INVALID),
    "a weight above 1000 is refused": (_create("o_new", weight=1000.1), INVALID),
    "a weight that is no number is refused": (_create("o_new", weight=float("nan")), INVALID),
    "an infinite weight is refused": (_create("o_new", weight=float("inf")), INVALID),
    "minus 1 open sessions are refused": (_limited(max_open_sessions=-1), INVALID),
    "minus 1 creates are refused": (_limited(max_creates_per_minute=-1), INVALID),
    "minus 1 minutes are refused": (_limited(max_minutes_per_day=-1), INVALID),
    "a cap of 0 is refused": (_limited(max_timeout=Duration()), INVALID),
    "a cap of more than a day is refused": (_limited(max_timeout=Duration(seconds=86401)), INVALID),
    "an organization with other settings is refused": (
        _create("o_acme", weight=7.0),
        ("ALREADY_EXISTS", "ORGANIZATION_EXISTS"),
    ),
    "an update of nothing is refused": (_update(organization=None), INVALID),
    "an update of the ID is refused": (_update(update_mask=FieldMask(paths=["id"])), INVALID),
    "an update of one limit alone is refused": (
        _update(update_mask=FieldMask(paths=["limits.max_open_sessions"])),
        INVALID,
    ),
    "an update of an organization that never was is refused": (_update(organization_id="o_nowhere"), _NOT_FOUND),
    "a key without a scope is refused": (_new_key(scope=0), INVALID),
    "a key of an unknown scope is refused": (_new_key(scope=99), INVALID),
    "a key of an organization that never was is refused": (_new_key(organization_id="o_nowhere"), _NOT_FOUND),
    "a key name of 129 characters is refused": (_new_key(display_name="x" * 129), INVALID),
    "a key name with a control character is refused": (_new_key(display_name="a\tb"), INVALID),
    "a key ID of another kind is not rotated": (_rotate("pbs_" + "0" * 26), INVALID),
    "a secret is no key ID": (_rotate("bf_secret"), INVALID),
    "a negative overlap is refused": (_rotate("key_" + "0" * 26, Duration(seconds=-1)), INVALID),
    "an overlap of more than 30 days is refused": (_rotate("key_" + "0" * 26, Duration(seconds=2_592_001)), INVALID),
    "an empty key ID is not revoked": (_revoke(""), INVALID),
    "a key that never was is not revoked": (_revoke("key_" + "0" * 26), ("NOT_FOUND", "API_KEY_NOT_FOUND")),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_organization(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    before = entry.fleet.database.organization(ORGANIZATION)
    await see_refused(entry, attempt, expected)
    assert entry.fleet.database.organization(ORGANIZATION) == before
