"""What an API key is, how long it is good, and what its holder may do."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from session_api.domain.caller import ApiKey, Scope, new_secret, secret_digest, shown_prefix
from session_api.domain.errors import ApiKeyRevoked
from session_api.domain.identifiers import KeyId
from tests.support.fleet_builders import NOON, ORGANIZATION, a_caller

_HOUR = timedelta(hours=1)
_KEY = ApiKey(
    id=KeyId("key_1"),
    organization_id=ORGANIZATION,
    scope=Scope.MEMBER,
    prefix="bf_1234567",
    display_name="ci",
    create_time=NOON,
)


def test_a_secret_is_256_random_bits_behind_a_prefix() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"bf_[A-Za-z0-9_-]{43}", secret) for secret in secrets)


def test_what_is_shown_of_a_secret_gives_little_of_it_away() -> None:
    secret = new_secret()
    assert shown_prefix(secret) == secret[:10]


def test_a_digest_does_not_hold_the_secret() -> None:
    secret = new_secret()
    assert len(secret_digest(secret)) == 32
    assert secret_digest(secret) == secret_digest(str(secret))
    assert secret_digest(secret) != secret_digest(secret[:-1])


def test_a_key_is_good_before_its_end_and_not_at_it() -> None:
    _KEY.require_good(now=NOON + 1000 * _HOUR)
    ending = _KEY.expiring(at=NOON + _HOUR)
    ending.require_good(now=NOON + _HOUR - timedelta(microseconds=1))
    with pytest.raises(ApiKeyRevoked) as refusal:
        ending.require_good(now=NOON + _HOUR)
    assert refusal.value.metadata == {"api_key_id": "key_1"}


def test_the_end_of_a_key_moves_forward_only() -> None:
    ending = _KEY.expiring(at=NOON + _HOUR)
    assert ending.expiring(at=NOON + 2 * _HOUR) == ending
    assert ending.expiring(at=NOON).expire_time == NOON


def test_revoking_ends_a_key_now_and_an_ended_one_stays_as_it_is() -> None:
    revoked = _KEY.revoked(now=NOON)
    assert revoked == replace(_KEY, expire_time=NOON)
    assert revoked.revoked(now=NOON + _HOUR) == revoked


@pytest.mark.parametrize(
    ("giver", "given"),
    [
        (Scope.MEMBER, set()),
        (Scope.ADMIN, {Scope.MEMBER, Scope.ADMIN}),
        (Scope.SERVICE, set(Scope)),
        (Scope.NODE, set()),
    ],
)
def test_nobody_gives_a_scope_that_reaches_further_than_their_own(giver: Scope, given: set[Scope]) -> None:
    assert {scope for scope in Scope if a_caller(scope=giver).may_give(scope)} == given


@pytest.mark.parametrize("scope", list(Scope))
def test_only_a_service_sees_beyond_its_organization(scope: Scope) -> None:
    visible = a_caller(scope=scope).visible_organization
    assert visible == (None if scope is Scope.SERVICE else ORGANIZATION)
