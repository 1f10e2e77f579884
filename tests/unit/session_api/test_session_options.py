"""Sessions that ask something of their browser, on fakes: from the request to the node, and back."""

import contextlib
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from fleetkit.errors import FleetError, InvalidArgument
from fleetkit.sealing import SecretBox
from session_api.domain.browser import (
    BrowserFacts,
    BrowserSpec,
    BrowserTier,
    BrowserType,
    CustomProxy,
    Receipt,
    ReceiptState,
    SpecSecrets,
    Viewport,
)
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed, OptionUnavailable, ProxyUnreachable, RequestIdReused
from session_api.domain.session import IdlePolicy, Session, SessionState
from session_api.usecases.admission import NewSession
from session_api.usecases.queries import SessionQuery
from session_api.usecases.sealing import SecretSealing
from session_api.usecases.wishes import Wishes
from tests.support.fleet_builders import OTHER_ORGANIZATION, a_caller, a_session
from tests.unit.session_api.fleet import Fleet, a_request

_PASSWORD, _HEADER = "canary-password", "canary-header"
_SPEC = BrowserSpec(
    viewport=Viewport(width=800, height=600),
    headers=("x-key",),
    proxy=CustomProxy(url="http://proxy.example:3128", username="u"),
)
_SECRETS = SpecSecrets(headers={"x-key": _HEADER}, proxy_password=_PASSWORD)
_US = Capabilities(proxy_locations=frozenset({"US"}))
# Made by the version that knew no option: what it stored must go on to match.
_DIGESTS = {
    "2a8f5ba026298bd732986aba8d873851f75118dd150dd981092878be7c3f704d": a_request(),
    "b299ed18c67640ef613ae5dc359d6ce13b66a75a169a42e8bbcae1a9f2509010": a_request(
        browser_type=BrowserType.MSEDGE,
        timeout=timedelta(minutes=30),
        labels={"a": "b"},
        idle=IdlePolicy(timeout=timedelta(minutes=5)),
        queue_timeout=timedelta(0),
    ),
}


def _sealing() -> SecretSealing:
    return SecretSealing(SecretBox(b"secret"))


def _with_options(request_id: str = "", *, spec: BrowserSpec = _SPEC, secrets: SpecSecrets = _SECRETS) -> NewSession:
    return a_request(request_id=request_id, spec=spec, secrets=secrets)


# ---- secrets


async def test_the_node_alone_reads_the_secrets(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await fleet.with_node()
    session = await fleet.create(request=_with_options())
    stored = fleet.database.session(session.id)
    assert _sealing().open(stored) == _SECRETS
    seen = f"{stored} {stored.sealed_secrets} {fleet.database.outbox} {_with_options()} {caplog.text}"
    assert "canary" not in seen


async def test_secrets_go_when_the_session_ends(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request=_with_options())
    assert fleet.database.session(session.id).sealed_secrets
    await fleet.close(session)
    assert not fleet.database.session(session.id).sealed_secrets


async def test_secrets_survive_the_queue_and_a_move_to_another_node(fleet: Fleet) -> None:
    first = await fleet.with_node(slots=1)
    blocking = await fleet.create()
    queued = await fleet.queue(request=_with_options())
    fleet.gateway.silent_nodes.add(first.node_id)
    await fleet.with_node(name="node-b", slots=1)
    await fleet.dispatch()
    await fleet.close(blocking)
    running = await fleet.in_state(queued.id, SessionState.RUNNING)
    assert _sealing().open(running) == _SECRETS


def test_secrets_of_another_organization_or_of_another_key_are_not_opened() -> None:
    sealed = _sealing().seal(_SECRETS, OTHER_ORGANIZATION)
    own = a_session(sealed_secrets=sealed)
    with pytest.raises(BrowserStartFailed):
        _sealing().open(own)
    with pytest.raises(BrowserStartFailed):
        SecretSealing(SecretBox(b"new")).open(replace(own, organization_id=OTHER_ORGANIZATION))
    assert _sealing().open(replace(own, organization_id=OTHER_ORGANIZATION)) == _SECRETS


# ---- idempotency


async def test_a_retry_with_the_same_options_finds_its_session(fleet: Fleet) -> None:
    await fleet.with_node()
    first = await fleet.create(request=_with_options("once"))
    assert (await fleet.create(request=_with_options("once"))).id == first.id


@pytest.mark.parametrize(
    ("spec", "secrets"),
    [
        (BrowserSpec(), SpecSecrets()),
        (replace(_SPEC, viewport=None), _SECRETS),
        (replace(_SPEC, locale="de"), _SECRETS),
        (_SPEC, replace(_SECRETS, proxy_password="another")),
        (_SPEC, replace(_SECRETS, headers={"x-key": "another"})),
    ],
)
async def test_other_options_under_the_same_key_are_another_request(
    fleet: Fleet, spec: BrowserSpec, secrets: SpecSecrets
) -> None:
    await fleet.with_node()
    await fleet.create(request=_with_options("once"))
    with pytest.raises(RequestIdReused):
        await fleet.create(request=_with_options("once", spec=spec, secrets=secrets))


def test_a_request_that_asks_for_nothing_new_is_told_apart_as_before_there_were_options() -> None:
    for digest, request in _DIGESTS.items():
        assert request.digest == digest


# ---- capabilities


async def test_a_session_goes_where_its_options_are_to_be_had(fleet: Fleet) -> None:
    await fleet.with_node(name="plain", slots=9)
    fitting = await fleet.with_node(name="with-location", slots=1, capabilities=_US)
    request = a_request(spec=BrowserSpec(proxy_location="US"))
    session = await fleet.create(request=request)
    assert session.allocation is not None
    assert session.allocation.node_id == fitting.node_id
    assert (await fleet.queue(request=request)).state is SessionState.QUEUED


async def test_what_waits_for_one_node_keeps_nobody_from_the_others(fleet: Fleet) -> None:
    await fleet.with_node(name="with-location", slots=1, capabilities=_US)
    request = a_request(spec=BrowserSpec(proxy_location="US"))
    await fleet.create(request=request)
    waiting = [await fleet.queue(request=request) for _ in range(120)]
    plain = await fleet.queue()
    node = await fleet.with_node(name="plain", slots=2)
    assert await fleet.dispatch() == 1
    placed = await fleet.in_state(plain.id, SessionState.RUNNING)
    assert placed.allocation is not None
    assert placed.allocation.node_id == node.node_id
    assert (await fleet.create()).state is SessionState.RUNNING
    assert all(fleet.database.session(session.id).state is SessionState.QUEUED for session in waiting)


async def test_nothing_impossible_is_queued(fleet: Fleet) -> None:
    await fleet.with_node()
    for spec in (BrowserSpec(proxy_location="US"), BrowserSpec(extensions=("ad-blocker",))):
        with pytest.raises(OptionUnavailable):
            await fleet.create(request=a_request(spec=spec))
    assert fleet.database.sessions() == []


async def test_a_full_fleet_still_refuses_what_it_never_has(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    await fleet.queue()
    with pytest.raises(OptionUnavailable):
        await fleet.create(request=a_request(spec=BrowserSpec(proxy_location="US")))


async def test_a_lean_session_needs_a_node_with_the_lean_tier(fleet: Fleet) -> None:
    await fleet.with_node(capabilities=Capabilities(tiers=frozenset(BrowserTier)))
    session = await fleet.create(request=a_request(spec=BrowserSpec(tier=BrowserTier.LEAN)))
    assert session.spec.tier is BrowserTier.LEAN


# ---- what the node says


@pytest.mark.parametrize(
    "error",
    [
        OptionUnavailable("The extension does not load.", option="extensions", value="x"),
        ProxyUnreachable("The proxy refuses the password."),
        InvalidArgument("There is no such permission.", fields={"spec.permissions": "unknown"}),
    ],
)
async def test_what_a_node_finds_wrong_reaches_the_caller_as_it_is_and_stays_with_the_session(
    fleet: Fleet, error: FleetError
) -> None:
    node = await fleet.with_node()
    fleet.gateway.start_fails_with = error
    with pytest.raises(type(error)) as refusal:
        await fleet.create(request=_with_options("once"))
    assert refusal.value is error
    (session,) = fleet.database.sessions()
    assert error.metadata["session_id"] == session.id
    assert (session.state, session.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert session.close_message == error.message
    assert fleet.slots_used(node) == 0


async def test_receipts_are_kept_for_whoever_asks_for_the_session_and_not_listed(fleet: Fleet) -> None:
    await fleet.with_node()
    receipt = Receipt(option="locale", requested="de", reported="de", state=ReceiptState.APPLIED)
    facts = BrowserFacts(
        product="Chrome/1",
        user_agent="UA",
        warm=True,
        sandboxed=True,
        start_message="It stood ready.",
        receipts=(receipt,),
    )
    fleet.gateway.facts = facts
    session = await fleet.create()
    assert session.browser == facts
    watched = await _first_watched(fleet)
    assert watched.browser == replace(facts, receipts=())


async def _first_watched(fleet: Fleet) -> Session:
    async with contextlib.aclosing(fleet.plane.watching.watch(a_caller(), SessionQuery(), "")) as news:  # type: ignore[type-var]  # a generator
        item = await anext(news)
    assert item.session is not None
    return item.session


def test_private_addresses_are_in_order_where_the_operator_says_so() -> None:
    request = a_request(spec=BrowserSpec(start_url="http://127.0.0.1:8000/"))
    with pytest.raises(InvalidArgument):
        Wishes(sealing=_sealing(), allow_private_urls=False).accepted(a_caller(), request)
    assert Wishes(sealing=_sealing(), allow_private_urls=True).accepted(a_caller(), request) is request
