"""Secrets that are stored for a while."""

import pytest

from fleetkit.sealing import NotSealedHere, SecretBox

_SECRET = b"canary-4711"


def test_what_was_sealed_is_opened_by_whoever_has_the_secret() -> None:
    sealed = SecretBox(b"fleet").seal(_SECRET, purpose="a")
    assert SecretBox(b"fleet").open(sealed, purpose="a") == _SECRET


def test_sealed_text_is_ascii_shows_nothing_and_is_never_the_same() -> None:
    box = SecretBox(b"fleet")
    first, second = (box.seal(_SECRET, purpose="a") for _ in range(2))
    assert first != second
    assert first.isascii()
    assert "canary" not in first


@pytest.mark.parametrize(
    "opening", [("other", "a", ""), ("fleet", "b", ""), ("fleet", "a", "AAAA"), ("fleet", "a", "é")]
)
def test_another_secret_another_purpose_or_a_change_opens_nothing(opening: tuple[str, str, str]) -> None:
    secret, purpose, more = opening
    sealed = SecretBox(b"fleet").seal(_SECRET, purpose="a")
    with pytest.raises(NotSealedHere):
        SecretBox(secret.encode()).open(sealed + more, purpose=purpose)


@pytest.mark.parametrize("garbage", ["", "1.", "1.AAAA", "2." + "A" * 64])
def test_garbage_is_not_opened(garbage: str) -> None:
    with pytest.raises(NotSealedHere):
        SecretBox(b"fleet").open(garbage, purpose="a")


def test_a_fingerprint_tells_secrets_apart_and_cannot_be_guessed_without_the_key() -> None:
    box = SecretBox(b"fleet")
    assert box.fingerprint(_SECRET) == SecretBox(b"fleet").fingerprint(_SECRET)
    assert len({box.fingerprint(_SECRET), box.fingerprint(b"x"), SecretBox(b"other").fingerprint(_SECRET)}) == 3
