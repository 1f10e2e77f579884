"""Which sessions a query asks for."""

from datetime import timedelta

import pytest

from session_api.domain.browser import BrowserType
from session_api.domain.identifiers import NodeId
from session_api.domain.session import SessionState
from session_api.usecases.queries import SessionQuery
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session

_INSTANT = timedelta(microseconds=1)
_DEADLINE = NOON + timedelta(minutes=60)
_SESSION = a_session(labels={"team": "qa", "tier": "1"})


@pytest.mark.parametrize(
    "query",
    [
        SessionQuery(),
        SessionQuery(organization_id=ORGANIZATION),
        SessionQuery(states=(SessionState.QUEUED, SessionState.RUNNING)),
        SessionQuery(browser_types=(BrowserType.CHROME,)),
        SessionQuery(node_id=NodeId("nod_1")),
        SessionQuery(labels={"team": "qa"}),
        SessionQuery(create_before=NOON + _INSTANT, create_after=NOON),
        SessionQuery(expire_before=_DEADLINE + _INSTANT),
    ],
)
def test_a_query_lets_through_what_it_names(query: SessionQuery) -> None:
    assert query.matches(_SESSION)


@pytest.mark.parametrize(
    "query",
    [
        SessionQuery(organization_id=OTHER_ORGANIZATION),
        SessionQuery(states=(SessionState.CLOSED,)),
        SessionQuery(browser_types=(BrowserType.MSEDGE,)),
        SessionQuery(node_id=NodeId("nod_2")),
        SessionQuery(labels={"team": "dev"}),
        SessionQuery(labels={"team": "qa", "owner": ""}),
        SessionQuery(create_before=NOON),
        SessionQuery(create_after=NOON + _INSTANT),
        SessionQuery(expire_before=_DEADLINE),
    ],
)
def test_a_query_keeps_out_everything_else(query: SessionQuery) -> None:
    assert not query.matches(_SESSION)


@pytest.mark.parametrize("query", [SessionQuery(node_id=NodeId("nod_1")), SessionQuery(expire_before=_DEADLINE)])
def test_a_session_without_a_node_and_a_deadline_matches_none(query: SessionQuery) -> None:
    assert not query.matches(a_session(state=SessionState.QUEUED))
