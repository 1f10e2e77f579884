"""Signed tokens."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from fleetkit.tokens import Claims, TokenInvalid, TokenSigner, TokenVerifier
from tests.support.keys import a_private_key, the_signer

_MINUTE = timedelta(minutes=1)


def _verifier() -> TokenVerifier:
    return TokenVerifier(the_signer().public_key_pem)


def test_a_token_says_what_was_signed() -> None:
    expire_time = datetime.now(UTC).replace(microsecond=0) + _MINUTE
    token = the_signer().sign_until(audience="attach", subject="pbs_1", expire_time=expire_time, epoch="2")
    expected = Claims(audience="attach", subject="pbs_1", expire_time=expire_time, extra={"epoch": "2"})
    assert _verifier().verify(token, audience="attach") == expected


def test_a_token_for_another_audience_is_refused() -> None:
    token = the_signer().sign(audience="attach", subject="pbs_1", ttl=_MINUTE)
    with pytest.raises(TokenInvalid):
        _verifier().verify(token, audience="artifact-store")


def test_clocks_may_differ_by_half_a_minute_and_no_more() -> None:
    late = the_signer().sign(audience="a", subject="s", ttl=timedelta(seconds=-20))
    assert _verifier().verify(late, audience="a").subject == "s"
    expired = the_signer().sign(audience="a", subject="s", ttl=timedelta(seconds=-32))
    with pytest.raises(TokenInvalid):
        _verifier().verify(expired, audience="a")


def test_a_token_of_another_key_is_refused() -> None:
    token = TokenSigner(a_private_key()).sign(audience="a", subject="s", ttl=_MINUTE)
    with pytest.raises(TokenInvalid):
        _verifier().verify(token, audience="a")


def test_a_token_signed_with_another_algorithm_is_refused() -> None:
    claims = {"aud": "a", "sub": "s", "exp": datetime.now(UTC) + _MINUTE}
    tokens = [
        jwt.encode(claims, key="", algorithm="none"),
        jwt.encode(claims, key="a symmetric key of thirty-two bytes", algorithm="HS256"),
    ]
    for token in tokens:
        with pytest.raises(TokenInvalid):
            _verifier().verify(token, audience="a")


@pytest.mark.parametrize("left_out", ["aud", "sub", "exp"])
def test_a_token_that_lacks_a_claim_is_refused(left_out: str) -> None:
    claims = {"aud": "a", "sub": "s", "exp": datetime.now(UTC) + _MINUTE}
    del claims[left_out]
    token = jwt.encode(claims, the_signer()._key, algorithm="EdDSA")
    with pytest.raises(TokenInvalid):
        _verifier().verify(token, audience="a")


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError):
        TokenSigner("not a key")
