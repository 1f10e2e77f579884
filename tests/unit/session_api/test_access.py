"""API keys at the door: who a caller is, from memory for seconds."""

from datetime import timedelta

import pytest

from fleetkit.errors import Unauthenticated
from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.caller import Caller, Scope, secret_digest
from session_api.domain.organization import Limits
from tests.support.fleet_builders import ORGANIZATION, a_caller
from tests.unit.session_api.entry import OPERATOR
from tests.unit.session_api.fleet import Fleet

_SECOND = timedelta(seconds=1)


async def _secret(fleet: Fleet, scope: Scope = Scope.MEMBER) -> str:
    organizations = fleet.plane.organizations
    return (await organizations.create_key(OPERATOR, ORGANIZATION, scope=scope, display_name="")).secret


async def test_a_key_says_who_calls_and_what_they_may_use(fleet: Fleet) -> None:
    limits = Limits(max_timeout=timedelta(minutes=30), max_open_sessions=3)
    fleet.limit(limits)
    secret = await _secret(fleet, Scope.SERVICE)
    expected = Caller(organization_id=ORGANIZATION, scope=Scope.SERVICE, limits=limits)
    assert await fleet.plane.access.caller(secret) == expected


async def test_an_unknown_key_and_a_revoked_one_are_refused_in_the_same_words(fleet: Fleet) -> None:
    secret = await _secret(fleet)
    fleet.database.revoke(secret_digest(secret))
    with pytest.raises(Unauthenticated) as revoked:
        await fleet.plane.access.caller(secret)
    with pytest.raises(Unauthenticated) as unknown:
        await fleet.plane.access.caller("bf_unknown")
    assert revoked.value.message == unknown.value.message


async def test_a_key_that_another_replica_revoked_is_refused_after_5_seconds(fleet: Fleet) -> None:
    secret = await _secret(fleet)
    await fleet.plane.access.caller(secret)
    fleet.database.revoke(secret_digest(secret))
    fleet.clock.step(5 * _SECOND - timedelta(microseconds=1))
    await fleet.plane.access.caller(secret)
    fleet.clock.step(timedelta(microseconds=1))
    with pytest.raises(Unauthenticated):
        await fleet.plane.access.caller(secret)


async def test_limits_that_another_replica_changed_count_after_5_seconds(fleet: Fleet) -> None:
    secret = await _secret(fleet)
    await fleet.plane.access.caller(secret)
    fleet.limit(Limits(max_open_sessions=1))
    assert (await fleet.plane.access.caller(secret)).limits == Limits()
    fleet.clock.step(5 * _SECOND)
    assert (await fleet.plane.access.caller(secret)).limits == Limits(max_open_sessions=1)


async def test_a_known_caller_is_let_in_while_the_database_is_away_for_a_moment(fleet: Fleet) -> None:
    secret, other = await _secret(fleet), await _secret(fleet)
    await fleet.plane.access.caller(secret)
    fleet.database.fails_with = DatabaseUnavailable("The database does not answer.")
    assert await fleet.plane.access.caller(secret) == a_caller()
    with pytest.raises(DatabaseUnavailable):
        await fleet.plane.access.caller(other)
    fleet.clock.step(5 * _SECOND)
    with pytest.raises(DatabaseUnavailable):
        await fleet.plane.access.caller(secret)


async def test_keys_that_do_not_exist_are_not_remembered(fleet: Fleet) -> None:
    for number in range(3):
        with pytest.raises(Unauthenticated):
            await fleet.plane.access.caller(f"bf_{number}")
    fleet.database.fails_with = DatabaseUnavailable("The database does not answer.")
    with pytest.raises(DatabaseUnavailable):
        await fleet.plane.access.caller("bf_0")
