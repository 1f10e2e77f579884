"""Addresses with signed tokens, and who they let in."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from fleetkit.clock import SystemClock
from fleetkit.tokens import TokenInvalid, TokenVerifier
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionNotFound, SessionNotOpen
from session_api.domain.session import Session, SessionState
from session_api.usecases.attaching import Attaching
from tests.support.fleet_builders import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    SteppedClock,
    a_caller,
    a_session,
    a_session_id,
)
from tests.support.fleet_memory import MemoryDatabase
from tests.support.keys import a_private_key, the_signer


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase(SteppedClock())


@pytest.fixture
def attaching(database: MemoryDatabase) -> Attaching:
    return Attaching(database=database, signer=the_signer(), clock=SystemClock(), edge_url="https://edge.test/")


def _token(attaching: Attaching, session: Session) -> str:
    endpoint = attaching.endpoint(session)
    assert endpoint is not None
    return endpoint.token


def _signed(session: Session, **changes: str) -> str:
    claims = {"epoch": "1", "organization": str(ORGANIZATION), "scope": "full"} | changes
    return the_signer().sign(audience="attach", subject=session.id, ttl=timedelta(minutes=1), **claims)


def test_a_running_session_is_reached_at_its_node_and_at_the_edge(attaching: Attaching) -> None:
    session = a_session()
    endpoint = attaching.endpoint(session)
    assert endpoint is not None
    assert endpoint.direct_url == f"ws://127.0.0.1:1/attach/{session.id}?token={endpoint.token}"
    assert endpoint.edge_url == f"wss://edge.test/attach/{session.id}?token={endpoint.token}"
    assert timedelta(minutes=14) < endpoint.expire_time - datetime.now(UTC) <= timedelta(minutes=15)


def test_a_token_says_what_a_node_needs_to_know(attaching: Attaching) -> None:
    session = a_session()
    endpoint = attaching.endpoint(session)
    assert endpoint is not None
    (token,) = parse_qs(urlsplit(endpoint.direct_url).query)["token"]
    claims = TokenVerifier(the_signer().public_key_pem).verify(token, audience="attach")
    assert (claims.subject, claims.expire_time) == (session.id, endpoint.expire_time)
    assert claims.extra == {"epoch": "1", "organization": "o_acme", "scope": "full"}


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.RUNNING])
def test_a_session_that_does_not_run_has_no_endpoint(attaching: Attaching, state: SessionState) -> None:
    assert attaching.endpoint(a_session(state=state)) is None


def test_the_lasting_address_holds_no_secret(attaching: Attaching) -> None:
    session_id = a_session_id()
    assert attaching.cdp_url(session_id) == f"https://edge.test/attach/{session_id}"


async def test_a_token_of_the_session_lets_in(attaching: Attaching, database: MemoryDatabase) -> None:
    session = a_session()
    database.put(session)
    assert (await attaching.by_token(_token(attaching, session), session.id)).session == session


async def test_a_token_of_another_session_does_not_let_in(attaching: Attaching, database: MemoryDatabase) -> None:
    session, other = a_session(), a_session()
    database.put(session, other)
    with pytest.raises(TokenInvalid):
        await attaching.by_token(_token(attaching, other), session.id)


async def test_a_token_of_an_earlier_epoch_does_not_let_in(attaching: Attaching, database: MemoryDatabase) -> None:
    session = a_session()
    database.put(session)
    with pytest.raises(TokenInvalid):
        await attaching.by_token(_signed(session, epoch="2"), session.id)


async def test_a_token_that_names_another_organization_finds_nothing(
    attaching: Attaching, database: MemoryDatabase
) -> None:
    session = a_session()
    database.put(session)
    with pytest.raises(SessionNotFound):
        await attaching.by_token(_signed(session, organization=str(OTHER_ORGANIZATION)), session.id)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 40, "\0"])
async def test_garbage_does_not_let_in(attaching: Attaching, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await attaching.by_token(token, a_session_id())


async def test_an_expired_token_does_not_let_in(attaching: Attaching, database: MemoryDatabase) -> None:
    session = a_session()
    database.put(session)
    token = the_signer().sign(audience="attach", subject=session.id, ttl=timedelta(seconds=-31), epoch="1")
    with pytest.raises(TokenInvalid):
        await attaching.by_token(token, session.id)


async def test_a_key_lets_in_its_own_organization_only(attaching: Attaching, database: MemoryDatabase) -> None:
    session = a_session()
    database.put(session)
    assert (await attaching.by_key(a_caller(), session.id)).session == session
    with pytest.raises(SessionNotFound):
        await attaching.by_key(a_caller(organization_id=OTHER_ORGANIZATION), session.id)


async def test_an_ended_session_says_why_it_ended(attaching: Attaching, database: MemoryDatabase) -> None:
    session = a_session()
    token = _token(attaching, session)
    database.put(session.ended(now=session.create_time, reason=CloseReason.TIMED_OUT))
    for attempt in (attaching.by_token(token, session.id), attaching.by_key(a_caller(), session.id)):
        with pytest.raises(SessionNotOpen) as refusal:
            await attempt
        assert refusal.value.metadata["close_reason"] == "TIMED_OUT"


def test_a_token_of_another_fleet_is_refused() -> None:
    verifier = TokenVerifier(the_signer().public_key_pem)
    other = type(the_signer())(a_private_key())
    with pytest.raises(TokenInvalid):
        verifier.verify(other.sign(audience="attach", subject="s", ttl=timedelta(minutes=1)), audience="attach")
