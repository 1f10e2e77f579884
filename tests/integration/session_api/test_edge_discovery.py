"""The way in through the edge: discovery, who may attach, and what is refused."""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from session_api.domain.close_reason import CloseReason
from session_api.domain.session import SessionState
from tests.integration.session_api.edge import Edge, Scenario, get, on_uvloop
from tests.support.fleet_builders import ORGANIZATION, a_session, a_session_id
from tests.support.keys import the_signer


async def test_with_a_key_discovery_leads_back_to_the_edge(edge: Edge) -> None:
    answer = await get(edge.http, {"x-api-key": edge.key})
    found = answer.json()
    assert found["Browser"] == "Chrome/150.0"
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.ws}?token=")
    assert answer.headers["cache-control"] == "no-store"
    async with connect(found["webSocketDebuggerUrl"]) as client:
        await client.send("hello")
        assert await client.recv() == "hello"


async def test_with_a_token_discovery_leads_to_the_node_itself(edge: Edge) -> None:
    found = (await get(f"{edge.http}?token={edge.token()}")).json()
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.node.url}/attach/{edge.session.id}?token=")


async def test_whoever_sends_a_key_is_never_led_to_the_node(edge: Edge) -> None:
    found = (await get(f"{edge.http}/?token={edge.token()}", {"x-api-key": edge.key})).json()
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.ws}?token=")


TARGET = "0123456789ABCDEF" * 2


def _list_url(edge: Edge, below: str = "/json/list") -> str:
    return edge.http.replace("/json/version", below)


@pytest.mark.parametrize("below", ["/json", "/json/", "/json/list", "/json/list/"])
async def test_pages_are_listed_with_addresses_of_the_edge(edge: Edge, below: str) -> None:
    page = {"id": TARGET, "type": "page", "title": "A", "url": "https://a/", "webSocketDebuggerUrl": "ws://evil/"}
    edge.node.lists = json.dumps([page])

    [found] = (await get(_list_url(edge, below), {"x-api-key": edge.key})).json()

    assert (found["title"], found["url"], found["type"]) == ("A", "https://a/", "page")
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.ws}/devtools/page/{TARGET}?token=")
    assert found["devtoolsFrontendUrl"].startswith("devtools://devtools/bundled/inspector.html?ws=127.0.0.1%3A")
    [asked] = edge.node.handshakes
    assert asked.path == f"/attach/{edge.session.id}/json/list"
    assert asked.headers["authorization"].startswith("Bearer ")
    assert edge.key not in str(asked.headers)
    async with connect(found["webSocketDebuggerUrl"]) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
    assert edge.node.handshakes[-1].path == f"/attach/{edge.session.id}/devtools/page/{TARGET}"


async def test_with_a_token_pages_are_on_the_node_itself(edge: Edge) -> None:
    edge.node.lists = json.dumps([{"id": TARGET}])
    [found] = (await get(f"{_list_url(edge)}?token={edge.token()}")).json()
    assert found["webSocketDebuggerUrl"].startswith(f"{edge.node.url}/attach/{edge.session.id}/devtools/page/{TARGET}?")


@pytest.mark.parametrize("lists", ["", "{}", "nonsense", "[" * 100_000, '{"a":' * 5000])
async def test_a_node_that_lists_nonsense_is_unavailable(edge: Edge, lists: str) -> None:
    edge.node.lists = lists
    answer = await get(_list_url(edge), {"x-api-key": edge.key})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "NODE_UNAVAILABLE")


async def test_of_what_a_node_lists_only_short_texts_of_targets_are_passed_on(edge: Edge) -> None:
    hostile = [{"id": "../x"}, {"id": 7}, "x", {"id": TARGET, "title": "x" * 5000, "url": {"a": 1}, "more": "y"}]
    edge.node.lists = json.dumps(hostile)
    [found] = (await get(_list_url(edge), {"x-api-key": edge.key})).json()
    assert len(found["title"]) == 1024
    assert "more" not in found


async def test_a_node_that_refuses_to_list_is_unavailable(edge: Edge) -> None:
    edge.node.refuses_with = HTTPStatus.FORBIDDEN
    assert (await get(_list_url(edge), {"x-api-key": edge.key})).status_code == 503


async def test_pages_are_listed_for_good_credentials_only(edge: Edge) -> None:
    assert (await get(_list_url(edge), {"x-api-key": edge.foreign_key})).status_code == 404
    assert (await get(_list_url(edge))).status_code == 401
    assert edge.node.handshakes == []


@pytest.mark.parametrize("below", ["/json/new", "/json/new?file:///etc/passwd", "/json/close/x", "/json/activate/x"])
async def test_pages_are_not_opened_or_closed_by_http(edge: Edge, below: str) -> None:
    assert (await get(_list_url(edge, below), {"x-api-key": edge.key})).status_code == 405


@pytest.mark.parametrize(
    "below", ["/devtools/page/x", "/devtools/browser/other", "/../x", "/%2e%2e/x", "//", "/json/version", "/x"]
)
async def test_sockets_lead_to_the_browser_and_its_pages_only(edge: Edge, below: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{edge.ws}{below}", additional_headers={"x-api-key": edge.key}):
            pass
    assert refused.value.response.status_code == 404


async def test_scripts_of_other_sites_do_not_attach(edge: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with edge.attach(**{"x-api-key": edge.key, "origin": "https://evil.example"}):
            pass
    assert refused.value.response.status_code == 403
    async with edge.attach(**{"x-api-key": edge.key, "origin": f"http://{edge.address}"}) as client:
        await client.send("hello")
        assert await client.recv() == "hello"


async def _refusal(edge: Edge, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Try to attach and to discover; return the status and the reason, which are the same for both."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers=dict(headers)):
            pass
    path, _, query = url.replace("ws://", "http://").partition("?")
    discovery = await get(f"{path}/json/version" + (f"?{query}" if query else ""), headers)
    body = json.loads(refused.value.response.body or b"")
    assert (discovery.status_code, discovery.json()) == (refused.value.response.status_code, body)
    assert edge.node.handshakes == []
    return refused.value.response.status_code, body["error"]["reason"]


async def test_nobody_attaches_without_credentials(edge: Edge) -> None:
    assert await _refusal(edge, edge.ws, {}) == (401, "CREDENTIALS_INVALID")
    assert await _refusal(edge, edge.ws, {"x-api-key": "bf_wrong"}) == (401, "CREDENTIALS_INVALID")
    assert await _refusal(edge, edge.ws, {"x-api-key": ""}) == (401, "CREDENTIALS_INVALID")


async def test_a_nodes_key_does_not_attach(edge: Edge) -> None:
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.node_key}) == (403, "SCOPE_MISSING")


async def test_wrong_tokens_do_not_attach(edge: Edge) -> None:
    other = a_session()
    edge.database.put(other)
    expired = the_signer().sign(
        audience="attach", subject=edge.session.id, ttl=timedelta(seconds=-31), epoch="1", organization=ORGANIZATION
    )
    for token in ("", "x.y.z", "%00", expired, edge.token(other)):
        assert await _refusal(edge, f"{edge.ws}?token={token}", {}) == (401, "TOKEN_INVALID")


async def test_another_organizations_session_does_not_exist(edge: Edge) -> None:
    foreign = await _refusal(edge, edge.ws, {"x-api-key": edge.foreign_key})
    absent = await _refusal(edge, f"ws://{edge.address}/attach/{a_session_id()}", {"x-api-key": edge.key})
    assert foreign == absent == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("state", [SessionState.CLOSING, SessionState.CLOSED, SessionState.FAILED])
async def test_an_ended_session_is_gone_and_says_why(edge: Edge, state: SessionState) -> None:
    ended = a_session(state=state, session_id=edge.session.id, reason=CloseReason.TIMED_OUT)
    token = edge.token()
    edge.database.put(ended)
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.key}) == (410, "SESSION_NOT_OPEN")
    assert await _refusal(edge, f"{edge.ws}?token={token}", {}) == (410, "SESSION_NOT_OPEN")
    answer = (await get(edge.http, {"x-api-key": edge.key})).json()["error"]
    assert answer["metadata"] == {"state": str(state), "close_reason": str(ended.close_reason)}
    assert ended.close_message in answer["message"]


async def test_a_session_that_is_still_starting_is_not_gone(edge: Edge) -> None:
    edge.database.put(a_session(state=SessionState.STARTING, session_id=edge.session.id))
    assert await _refusal(edge, edge.ws, {"x-api-key": edge.key}) == (409, "SESSION_NOT_OPEN")


@pytest.mark.parametrize(
    "path", ["/", "/attach", "/attach/", "/attach/../x", "/attach/%00", "/attach//etc/passwd", "/x"]
)
async def test_other_paths_are_not_found_and_the_edge_goes_on(edge: Edge, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{edge.address}{path}", additional_headers={"x-api-key": edge.key}):
            pass
    assert refused.value.response.status_code == 404
    async with edge.attach() as client:
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_the_edge_says_whether_it_lives_and_is_ready(edge: Edge) -> None:
    assert (await get(f"http://{edge.address}/livez")).status_code == 200
    assert (await get(f"http://{edge.address}/readyz")).status_code == 200


async def test_garbage_instead_of_a_request_ends_that_connection_only(edge: Edge) -> None:
    host, _, port = edge.address.rpartition(":")
    for garbage in (b"\x16\x03\x01\x02\x00" + bytes(64), b"GARBAGE\r\n\r\n", b"GET \r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
    assert (await get(edge.http, {"x-api-key": edge.key})).status_code == 200


@pytest.mark.parametrize(
    "scenario",
    [
        test_with_a_key_discovery_leads_back_to_the_edge,
        test_nobody_attaches_without_credentials,
    ],
)
def test_it_is_the_same_on_uvloop(scenario: Scenario) -> None:
    on_uvloop(scenario)
