"""What a scope opens at the edge: CDP, the live view, or neither."""

import json
from datetime import timedelta

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fleetkit.tokens import Claims, TokenVerifier
from session_api.domain.attach_scope import AttachGrant, AttachScope
from tests.integration.session_api.edge import Edge, get
from tests.support.keys import the_signer

_CDP = (AttachScope.FULL, AttachScope.OBSERVE)
_LIVE = (AttachScope.VIEW, AttachScope.CONTROL)


def _url(edge: Edge, door: str, scope: AttachScope) -> str:
    endpoint = edge.attaching.endpoint(edge.session, AttachGrant(scope=scope, control_generation=3))
    assert endpoint is not None
    return f"ws://{edge.address}/{door}/{edge.session.id}?token={endpoint.token}"


async def _arrived(edge: Edge, url: str, headers: dict[str, str] | None = None) -> tuple[str, Claims]:
    """Attach, and return the path and the token that the node saw."""
    edge.node.handshakes.clear()
    async with connect(url, additional_headers=headers) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
    (seen,) = edge.node.handshakes
    token = seen.headers["authorization"].removeprefix("Bearer ")
    return seen.path, TokenVerifier(the_signer().public_key_pem).verify(token, audience="attach")


@pytest.mark.parametrize("scope", _CDP)
async def test_a_token_for_cdp_keeps_its_scope_on_the_way_to_the_node(edge: Edge, scope: AttachScope) -> None:
    path, claims = await _arrived(edge, _url(edge, "attach", scope))
    assert path == f"/attach/{edge.session.id}"
    assert claims.extra["scope"] == scope.lower()


@pytest.mark.parametrize("scope", _LIVE)
async def test_a_token_for_the_live_view_leads_there_with_its_scope(edge: Edge, scope: AttachScope) -> None:
    path, claims = await _arrived(edge, _url(edge, "live", scope))
    assert path == f"/live/{edge.session.id}"
    assert claims.extra["scope"] == scope.lower()
    assert claims.extra.get("control") == ("3" if scope is AttachScope.CONTROL else None)


@pytest.mark.parametrize("scope", _CDP)
async def test_whoever_may_attach_may_look_and_no_more(edge: Edge, scope: AttachScope) -> None:
    path, claims = await _arrived(edge, _url(edge, "live", scope))
    assert (path, claims.extra["scope"]) == (f"/live/{edge.session.id}", "view")


async def test_a_key_looks_at_the_live_view(edge: Edge) -> None:
    url = f"ws://{edge.address}/live/{edge.session.id}"
    path, claims = await _arrived(edge, url, {"x-api-key": edge.key})
    assert (path, claims.extra["scope"]) == (f"/live/{edge.session.id}", "view")


@pytest.mark.parametrize("scope", _LIVE)
async def test_a_token_for_the_live_view_opens_no_cdp(edge: Edge, scope: AttachScope) -> None:
    url = _url(edge, "attach", scope)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url):
            pass
    path, _, query = url.replace("ws://", "http://").partition("?")
    discovery = await get(f"{path}/json/version?{query}")
    assert refused.value.response.status_code == discovery.status_code == 403
    assert json.loads(refused.value.response.body or b"") == discovery.json()
    assert discovery.json()["error"]["reason"] == "SCOPE_MISSING"
    assert edge.node.handshakes == []


@pytest.mark.parametrize("scope", _CDP)
async def test_discovery_leads_on_with_the_same_scope(edge: Edge, scope: AttachScope) -> None:
    path, _, query = _url(edge, "attach", scope).replace("ws://", "http://").partition("?")
    found = (await get(f"{path}/json/version?{query}")).json()["webSocketDebuggerUrl"]
    claims = TokenVerifier(the_signer().public_key_pem).verify(found.partition("token=")[2], audience="attach")
    assert claims.extra["scope"] == scope.lower()


async def test_a_scope_that_nobody_knows_lets_in_nobody(edge: Edge) -> None:
    token = the_signer().sign(
        audience="attach",
        subject=edge.session.id,
        ttl=timedelta(minutes=1),
        epoch="1",
        organization="o_acme",
        scope="root",
    )
    for door in ("attach", "live"):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{edge.address}/{door}/{edge.session.id}?token={token}"):
                pass
        assert refused.value.response.status_code == 401


async def test_the_live_view_of_an_absent_session_does_not_exist(edge: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{edge.address}/live/pbs_none", additional_headers={"x-api-key": edge.key}):
            pass
    assert refused.value.response.status_code == 404
