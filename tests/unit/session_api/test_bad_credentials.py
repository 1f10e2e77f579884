"""The front door against keys that are none: exact codes and reasons, and no word about the key."""

import pytest

from fleetkit.rpc.client import bearer
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.refusals import NO_KEY, Attempt, refusal_of, see_refused

_ATTEMPTS: dict[str, Attempt] = {
    "no credentials are refused": lambda e: e.get(e.running, key=()),
    "a scheme that is not bearer is refused": lambda e: e.get(e.running, key=(("authorization", "Basic Zm9v"),)),
    "a bearer without a key is refused": lambda e: e.get(e.running, key=(("authorization", "Bearer "),)),
    "a key without a scheme is refused": lambda e: e.get(e.running, key=(("authorization", e.member[0][1][7:]),)),
    "a key in another header is refused": lambda e: e.get(e.running, key=(("x-api-key", e.member[0][1][7:]),)),
    "an unknown key is refused": lambda e: e.get(e.running, key=bearer("bf_unknown")),
    "the beginning of a key is refused": lambda e: e.get(e.running, key=bearer(e.member[0][1][7:-1])),
    "a key of 10 kB is refused": lambda e: e.get(e.running, key=bearer("bf_" + "x" * 10_000)),
    "a revoked key is refused": lambda e: e.get(e.running, key=e.revoked),
    "a key that has ended is refused": lambda e: e.get(e.running, key=e.expired),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_credentials(entry: Entry, sentence: str) -> None:
    await see_refused(entry, _ATTEMPTS[sentence], NO_KEY)


async def test_refusals_tell_an_ended_key_from_an_unknown_one_by_nothing(entry: Entry) -> None:
    refusals = [await refusal_of(entry.get(entry.running, key=key)) for key in (entry.revoked, bearer("bf_unknown"))]
    assert refusals[0].details() == refusals[1].details()
    assert refusals[0].trailing_metadata() == refusals[1].trailing_metadata()
    secret = entry.revoked[0][1].removeprefix("Bearer ")
    assert secret not in str(refusals[0])
