"""API keys and the caps of their organizations."""

from datetime import timedelta

from session_api.domain.caller import Caller, Scope, api_key_digest
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import Subject
from tests.support.fleet_builders import ORGANIZATION


async def test_a_key_names_its_organization_scope_and_cap(database: Database) -> None:
    async with database.transaction() as tx:
        digest = api_key_digest("bf_1")
        cap = timedelta(minutes=30)
        await tx.keys.add(digest, organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
        expected = Caller(organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
        assert await tx.keys.caller(digest) == expected
        assert await tx.keys.caller(api_key_digest("bf_2")) is None


async def test_a_cap_is_the_organizations_and_stays_until_another_is_given(database: Database) -> None:
    async def add(key: str, cap: timedelta | None) -> None:
        async with database.transaction() as tx:
            await tx.keys.add(api_key_digest(key), organization_id=ORGANIZATION, scope=Scope.MEMBER, max_timeout=cap)

    async def cap_of(key: str) -> timedelta | None:
        async with database.transaction() as tx:
            caller = await tx.keys.caller(api_key_digest(key))
        assert caller is not None
        return caller.max_timeout

    await add("bf_1", timedelta(minutes=30))
    await add("bf_2", None)
    assert await cap_of("bf_2") == timedelta(minutes=30)
    await add("bf_3", timedelta(minutes=40))
    assert await cap_of("bf_1") == timedelta(minutes=40)


async def test_a_revoked_key_is_nobodys(subject: Subject, database: Database) -> None:
    digest = api_key_digest(f"key of {ORGANIZATION}")
    async with database.transaction() as tx:
        assert await tx.keys.caller(digest) is not None
    await subject.revoke(digest)
    async with database.transaction() as tx:
        assert await tx.keys.caller(digest) is None
