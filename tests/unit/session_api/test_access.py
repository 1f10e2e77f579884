"""API keys: made once, stored as digests."""

from datetime import timedelta

import pytest

from fleetkit.errors import Unauthenticated
from session_api.domain.caller import Caller, Scope, api_key_digest
from tests.support.fleet_builders import ORGANIZATION, a_caller
from tests.unit.session_api.fleet import Fleet


async def test_a_new_key_is_known_from_then_on(fleet: Fleet) -> None:
    cap = timedelta(minutes=30)
    key = await fleet.access.create_key(organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
    expected = Caller(organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
    assert key.startswith("bf_")
    assert await fleet.access.caller(key) == expected


async def test_an_unknown_key_and_a_revoked_one_are_refused_in_the_same_words(fleet: Fleet) -> None:
    key = await fleet.access.create_key(organization_id=ORGANIZATION, scope=Scope.MEMBER)
    fleet.database.revoke(api_key_digest(key))
    with pytest.raises(Unauthenticated) as revoked:
        await fleet.access.caller(key)
    with pytest.raises(Unauthenticated) as unknown:
        await fleet.access.caller("bf_unknown")
    assert revoked.value.message == unknown.value.message


@pytest.mark.parametrize("scope", list(Scope))
def test_only_a_service_sees_beyond_its_organization(scope: Scope) -> None:
    visible = a_caller(scope=scope).visible_organization
    assert visible == (None if scope is Scope.SERVICE else ORGANIZATION)
