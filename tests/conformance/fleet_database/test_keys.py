"""API keys."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.caller import ApiKey, Caller, Scope, secret_digest
from session_api.domain.errors import ApiKeyNotFound
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Limits, Organization
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import HOUR, MINUTE, present
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION

_DIGEST = secret_digest("bf_1")


def _key(
    *,
    number: int = 1,
    organization_id: OrganizationId = ORGANIZATION,
    scope: Scope = Scope.MEMBER,
    last_use_time: datetime | None = None,
    expire_time: datetime | None = None,
) -> ApiKey:
    return ApiKey(
        id=KeyId(f"key_{number:026d}"),
        organization_id=organization_id,
        scope=scope,
        prefix="bf_1234567",
        display_name="Ann's key",
        create_time=NOON,
        last_use_time=last_use_time,
        expire_time=expire_time,
    )


async def _add(database: Database, key: ApiKey, digest: bytes = _DIGEST) -> ApiKey:
    async with database.transaction() as tx:
        await tx.keys.add(key, digest)
    return key


async def _stored(database: Database, key: ApiKey) -> ApiKey:
    async with database.single() as tx:
        return await tx.keys.get(key.id)


async def _caller(database: Database, digest: bytes = _DIGEST) -> Caller | None:
    async with database.single() as tx:
        return await tx.keys.caller(digest)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_comes_back_as_it_was_added(database: Database, scope: Scope) -> None:
    key = await _add(database, _key(scope=scope, last_use_time=NOON + MINUTE, expire_time=NOON + HOUR))
    assert await _stored(database, key) == key


async def test_a_key_that_never_was_is_not_found(database: Database) -> None:
    await _add(database, _key())
    with pytest.raises(ApiKeyNotFound):
        await _stored(database, _key(number=2))


async def test_a_key_names_its_organization_scope_and_limits(database: Database) -> None:
    limits = Limits(max_open_sessions=1, max_creates_per_minute=2, max_minutes_per_day=3, max_timeout=HOUR)
    async with database.transaction() as tx:
        await tx.organizations.save(Organization(id=ORGANIZATION, limits=limits))
    await _add(database, _key(scope=Scope.ADMIN))
    assert await _caller(database) == Caller(organization_id=ORGANIZATION, scope=Scope.ADMIN, limits=limits)
    assert await _caller(database, secret_digest("bf_2")) is None


async def test_a_key_is_good_before_its_end(database: Database) -> None:
    now = await present(database)
    for number, offset in enumerate((-MINUTE, timedelta(0), HOUR), start=1):
        await _add(database, _key(number=number, expire_time=now + offset), secret_digest(f"bf_{number}"))
    good = [await _caller(database, secret_digest(f"bf_{number}")) is not None for number in (1, 2, 3)]
    assert good == [False, False, True]


async def test_a_revoked_key_is_nobodys(database: Database) -> None:
    key = await _add(database, _key())
    assert await _caller(database) is not None
    async with database.transaction() as tx:
        await tx.keys.save(key.revoked(now=await tx.now()))
    assert await _caller(database) is None


async def test_a_key_that_is_being_replaced_is_good_meanwhile_and_never_gets_a_later_end(database: Database) -> None:
    now = await present(database)
    key = await _add(database, _key())
    for end, expected in ((now + HOUR, now + HOUR), (now + 2 * HOUR, now + HOUR), (now + MINUTE, now + MINUTE)):
        async with database.transaction() as tx:
            await tx.keys.save((await tx.keys.get(key.id)).expiring(at=end))
        assert (await _stored(database, key)).expire_time == expected
        assert await _caller(database) is not None


async def test_the_first_use_is_noted(database: Database) -> None:
    key, before = await _add(database, _key()), await present(database)
    await _caller(database)
    last_use_time = (await _stored(database, key)).last_use_time
    assert last_use_time is not None
    assert before <= last_use_time <= await present(database)


@pytest.mark.parametrize(("ago", "is_noted"), [(MINUTE / 2, False), (2 * MINUTE, True)])
async def test_a_use_is_noted_to_the_minute(database: Database, ago: timedelta, is_noted: bool) -> None:
    now = await present(database)
    key = await _add(database, _key(last_use_time=now - ago))
    await _caller(database)
    last_use_time = (await _stored(database, key)).last_use_time
    assert last_use_time is not None
    assert (last_use_time >= now) is is_noted


async def test_trying_a_key_that_has_ended_is_no_use(database: Database) -> None:
    key = await _add(database, _key(expire_time=await present(database) - HOUR))
    await _caller(database)
    assert await _stored(database, key) == key


async def test_a_save_stores_the_end_and_leaves_the_last_use(database: Database) -> None:
    key = await _add(database, _key())
    await _caller(database)
    used = await _stored(database, key)
    async with database.transaction() as tx:
        await tx.keys.save(replace(key, expire_time=NOON))
    assert await _stored(database, key) == replace(used, expire_time=NOON)


async def test_pages_of_keys_are_newest_first_of_one_organization_and_end(database: Database) -> None:
    own = [_key(number=number) for number in (1, 2, 3)]
    for key in (*own, _key(number=4, organization_id=OTHER_ORGANIZATION)):
        await _add(database, key, secret_digest(key.id))
    async with database.single() as tx:
        first = await tx.keys.page(ORGANIZATION, PageRequest(size=2))
        second = await tx.keys.page(ORGANIZATION, PageRequest(size=2, after=first.next_after))
        assert (await tx.keys.page(ORGANIZATION, PageRequest(size=3))).next_after is None
    assert first.items == [own[2], own[1]]
    assert (second.items, second.next_after) == ([own[0]], None)
