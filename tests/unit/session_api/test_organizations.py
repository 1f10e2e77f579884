"""Organizations and their API keys: who may make, replace and end them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from fleetkit.errors import PermissionDenied, Unauthenticated
from fleetkit.paging import PageRequest
from session_api.domain.caller import Caller, Scope, secret_digest, shown_prefix
from session_api.domain.errors import ApiKeyNotFound, ApiKeyRevoked, OrganizationExists, OrganizationNotFound
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Limits, Organization
from session_api.usecases.organizations import NewKey
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_caller
from tests.unit.session_api.entry import OPERATOR
from tests.unit.session_api.fleet import Fleet

_HOUR = timedelta(hours=1)
_ADMIN = a_caller(scope=Scope.ADMIN)
_OTHER_ADMIN = a_caller(scope=Scope.ADMIN, organization_id=OTHER_ORGANIZATION)
_NOWHERE = OrganizationId("o_nowhere")


async def _key(fleet: Fleet, scope: Scope = Scope.MEMBER, *, by: Caller = OPERATOR) -> NewKey:
    return await fleet.plane.organizations.create_key(by, ORGANIZATION, scope=scope, display_name="ci")


async def _is_good(fleet: Fleet, new: NewKey) -> bool:
    try:
        await fleet.plane.access.caller(new.secret)
    except Unauthenticated:
        return False
    return True


# ---- organizations


async def test_an_organization_is_made_once(fleet: Fleet) -> None:
    wanted = Organization(id=OrganizationId("o_new"), limits=Limits(max_open_sessions=5), weight=2.0)
    made = await fleet.plane.organizations.create(wanted)
    assert (made.limits, made.weight, made.create_time) == (wanted.limits, 2.0, NOON)
    fleet.clock.step(_HOUR)
    assert await fleet.plane.organizations.create(wanted) == made


@pytest.mark.parametrize("other", [{"limits": Limits(max_open_sessions=6)}, {"weight": 3.0}])
async def test_an_organization_that_exists_with_other_settings_is_refused(
    fleet: Fleet, other: dict[str, object]
) -> None:
    wanted = {"limits": Limits(max_open_sessions=5), "weight": 2.0}
    identifier = OrganizationId("o_new")
    await fleet.plane.organizations.create(Organization(id=identifier, **wanted))  # type: ignore[arg-type]  # fields
    with pytest.raises(OrganizationExists):
        await fleet.plane.organizations.create(Organization(id=identifier, **wanted | other))  # type: ignore[arg-type]  # fields
    assert fleet.database.organization(identifier).limits == Limits(max_open_sessions=5)


@pytest.mark.parametrize(
    ("fields", "limits", "weight"),
    [
        ([], Limits(max_open_sessions=9), 9.0),
        (["limits", "weight"], Limits(max_open_sessions=9), 9.0),
        (["limits"], Limits(max_open_sessions=9), 1.0),
        (["weight"], Limits(), 9.0),
    ],
)
async def test_an_update_changes_what_it_names(fleet: Fleet, fields: list[str], limits: Limits, weight: float) -> None:
    changes = Organization(id=ORGANIZATION, limits=Limits(max_open_sessions=9), weight=9.0)
    updated = await fleet.plane.organizations.update(changes, fields)
    assert (updated.limits, updated.weight) == (limits, weight)
    assert fleet.database.organization(ORGANIZATION) == updated


async def test_new_limits_count_on_this_replica_at_once(fleet: Fleet) -> None:
    new = await _key(fleet)
    await fleet.plane.access.caller(new.secret)
    await fleet.plane.organizations.update(Organization(id=ORGANIZATION, limits=Limits(max_open_sessions=1)), [])
    assert (await fleet.plane.access.caller(new.secret)).limits == Limits(max_open_sessions=1)


async def test_organizations_are_listed_by_id(fleet: Fleet) -> None:
    first = await fleet.plane.organizations.list(PageRequest(size=1))
    rest = await fleet.plane.organizations.list(PageRequest(size=1, after=first.next_after))
    assert [row.id for row in [*first.items, *rest.items]] == [ORGANIZATION, OTHER_ORGANIZATION]
    assert rest.next_after is None


_READS: dict[str, Callable[[Fleet, Caller, OrganizationId], Awaitable[object]]] = {
    "get": lambda fleet, caller, organization_id: fleet.plane.organizations.get(caller, organization_id),
    "create key": lambda fleet, caller, organization_id: fleet.plane.organizations.create_key(
        caller, organization_id, scope=Scope.MEMBER, display_name=""
    ),
    "list keys": lambda fleet, caller, organization_id: fleet.plane.organizations.keys(
        caller, organization_id, PageRequest()
    ),
}


@pytest.mark.parametrize("verb", list(_READS))
async def test_another_organization_is_not_found_in_the_words_of_one_that_never_was(fleet: Fleet, verb: str) -> None:
    with pytest.raises(OrganizationNotFound) as foreign:
        await _READS[verb](fleet, _ADMIN, OTHER_ORGANIZATION)
    with pytest.raises(OrganizationNotFound) as absent:
        await _READS[verb](fleet, OPERATOR, _NOWHERE)
    assert foreign.value.message == absent.value.message
    await _READS[verb](fleet, _ADMIN, ORGANIZATION)
    await _READS[verb](fleet, OPERATOR, OTHER_ORGANIZATION)


async def test_an_organization_that_never_was_is_not_updated(fleet: Fleet) -> None:
    with pytest.raises(OrganizationNotFound):
        await fleet.plane.organizations.update(Organization(id=_NOWHERE), [])


# ---- making keys


async def test_a_new_key_is_good_and_its_secret_is_not_kept(fleet: Fleet) -> None:
    new = await _key(fleet, Scope.ADMIN)
    assert await fleet.plane.access.caller(new.secret) == _ADMIN
    (stored,) = (await fleet.plane.organizations.keys(_ADMIN, ORGANIZATION, PageRequest())).items
    assert (stored.id, stored.display_name, stored.create_time) == (new.key.id, "ci", NOON)
    assert stored.prefix == shown_prefix(new.secret)
    assert new.secret not in repr(stored)


@pytest.mark.parametrize(
    ("giver", "refused"),
    [(Scope.ADMIN, {Scope.SERVICE, Scope.NODE}), (Scope.SERVICE, set()), (Scope.MEMBER, set(Scope))],
)
async def test_nobody_makes_a_key_that_reaches_further_than_their_own(
    fleet: Fleet, giver: Scope, refused: set[Scope]
) -> None:
    for scope in Scope:
        if scope in refused:
            with pytest.raises(PermissionDenied):
                await _key(fleet, scope, by=a_caller(scope=giver))
        else:
            assert (await _key(fleet, scope, by=a_caller(scope=giver))).key.scope is scope


async def test_keys_are_listed_newest_first_with_their_last_use(fleet: Fleet) -> None:
    old, new = await _key(fleet), await _key(fleet)
    fleet.clock.step(_HOUR)
    await fleet.plane.access.caller(old.secret)
    keys = (await fleet.plane.organizations.keys(_ADMIN, ORGANIZATION, PageRequest())).items
    assert [(key.id, key.last_use_time) for key in keys] == [(new.key.id, None), (old.key.id, NOON + _HOUR)]


# ---- replacing and ending keys


async def test_a_rotated_key_stays_good_for_the_overlap(fleet: Fleet) -> None:
    old = await _key(fleet, Scope.ADMIN)
    new = await fleet.plane.organizations.rotate_key(_ADMIN, old.key.id, overlap=_HOUR)
    assert (new.key.scope, new.key.display_name, new.key.expire_time) == (Scope.ADMIN, "ci", None)
    assert new.secret != old.secret
    assert [await _is_good(fleet, key) for key in (old, new)] == [True, True]
    fleet.clock.step(_HOUR)
    assert [await _is_good(fleet, key) for key in (old, new)] == [False, True]


async def test_a_key_that_is_rotated_without_overlap_ends_at_once(fleet: Fleet) -> None:
    old = await _key(fleet)
    assert await _is_good(fleet, old)
    await fleet.plane.organizations.rotate_key(_ADMIN, old.key.id, overlap=timedelta(0))
    assert not await _is_good(fleet, old)


async def test_a_key_that_is_rotated_twice_ends_no_later(fleet: Fleet) -> None:
    old = await _key(fleet)
    await fleet.plane.organizations.rotate_key(_ADMIN, old.key.id, overlap=_HOUR)
    await fleet.plane.organizations.rotate_key(_ADMIN, old.key.id, overlap=10 * _HOUR)
    fleet.clock.step(_HOUR)
    assert not await _is_good(fleet, old)


async def test_a_revoked_key_is_refused_on_this_replica_at_once(fleet: Fleet) -> None:
    new = await _key(fleet)
    assert await _is_good(fleet, new)
    revoked = await fleet.plane.organizations.revoke_key(_ADMIN, new.key.id)
    assert revoked.expire_time == NOON
    assert not await _is_good(fleet, new)


async def test_a_revoked_key_stays_revoked_since_then(fleet: Fleet) -> None:
    new = await _key(fleet)
    revoked = await fleet.plane.organizations.revoke_key(_ADMIN, new.key.id)
    fleet.clock.step(_HOUR)
    assert await fleet.plane.organizations.revoke_key(_ADMIN, new.key.id) == revoked


async def test_a_key_that_has_ended_is_not_rotated(fleet: Fleet) -> None:
    new = await _key(fleet)
    await fleet.plane.organizations.revoke_key(_ADMIN, new.key.id)
    with pytest.raises(ApiKeyRevoked):
        await fleet.plane.organizations.rotate_key(_ADMIN, new.key.id, overlap=_HOUR)


@pytest.mark.parametrize("scope", [Scope.SERVICE, Scope.NODE])
async def test_an_admin_does_not_touch_a_key_that_reaches_further_than_their_own(fleet: Fleet, scope: Scope) -> None:
    new = await _key(fleet, scope)
    with pytest.raises(PermissionDenied):
        await fleet.plane.organizations.rotate_key(_ADMIN, new.key.id, overlap=_HOUR)
    with pytest.raises(PermissionDenied):
        await fleet.plane.organizations.revoke_key(_ADMIN, new.key.id)
    fleet.clock.step(_HOUR)
    assert await _is_good(fleet, new)
    assert (await fleet.plane.organizations.rotate_key(OPERATOR, new.key.id, overlap=_HOUR)).key.scope is scope


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
async def test_another_organizations_key_is_not_found(fleet: Fleet, verb: str) -> None:
    new = await _key(fleet)
    messages = []
    for key_id in (new.key.id, KeyId("key_x")):
        with pytest.raises(ApiKeyNotFound) as refusal:
            await _end(fleet, verb, _OTHER_ADMIN, key_id)
        messages.append(refusal.value.message)
    assert messages[0] == messages[1]
    assert await _is_good(fleet, new)
    await _end(fleet, verb, OPERATOR, new.key.id)


async def _end(fleet: Fleet, verb: str, caller: Caller, key_id: KeyId) -> None:
    if verb == "rotate":
        await fleet.plane.organizations.rotate_key(caller, key_id, overlap=_HOUR)
    else:
        await fleet.plane.organizations.revoke_key(caller, key_id)


# ---- for whoever administers the database itself


async def test_a_provided_key_brings_its_organization_along(fleet: Fleet) -> None:
    wanted = Organization(id=OrganizationId("o_new"), limits=Limits(max_timeout=_HOUR))
    new = await fleet.plane.organizations.provide_key(wanted, scope=Scope.SERVICE, display_name="first")
    expected = Caller(organization_id=wanted.id, scope=Scope.SERVICE, limits=Limits(max_timeout=_HOUR))
    assert await fleet.plane.access.caller(new.secret) == expected


async def test_a_provided_key_changes_of_limits_only_the_cap_that_is_given(fleet: Fleet) -> None:
    fleet.limit(Limits(max_open_sessions=3, max_timeout=_HOUR))
    for cap, expected in ((None, _HOUR), (2 * _HOUR, 2 * _HOUR)):
        wanted = Organization(id=ORGANIZATION, limits=Limits(max_timeout=cap))
        await fleet.plane.organizations.provide_key(wanted, scope=Scope.MEMBER, display_name="")
        assert fleet.database.organization(ORGANIZATION).limits == Limits(max_open_sessions=3, max_timeout=expected)


async def test_a_digest_is_all_that_leads_to_a_key(fleet: Fleet) -> None:
    new = await _key(fleet)
    async with fleet.database.single() as tx:
        assert await tx.keys.caller(secret_digest(new.secret)) == a_caller()
        assert await tx.keys.caller(new.secret.encode()) is None
