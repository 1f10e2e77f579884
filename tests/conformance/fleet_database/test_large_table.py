"""What runs often touches few rows, however many sessions there have been."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import asyncpg
import pytest

from fleetkit.ids import RandomIds
from fleetkit.paging import PageRequest
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresTransaction, migrate_fleet
from session_api.domain.browser import BrowserType
from session_api.domain.identifiers import NodeId, OrganizationId
from session_api.domain.node import Registration
from session_api.domain.session import SessionState
from session_api.usecases.queries import SessionOrder, SessionQuery
from tests.conformance.fleet_database.subject import MINUTE, numbered
from tests.support.fleet_builders import a_report

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_Call: TypeAlias = Callable[[], Awaitable[object]]
# Postgres's own description of a step of a plan.
_PlanNode: TypeAlias = dict[str, Any]

# 20,000 sessions, a minute apart; the last ones are open or wait. One organization has half of them, one the oldest.
_FILL = """
INSERT INTO fleet.organization (id) SELECT 'o_' || n FROM generate_series(0, 20) AS n;
INSERT INTO fleet.node (id, name, registration_id, state, address, attach_url, slots, browsers, register_time,
    heartbeat_time)
  SELECT 'nod_' || n, 'node-' || n, 'reg_1', 'ACTIVE', 'a:1', 'ws://a', 100, '{}', now(), now()
  FROM generate_series(0, 49) AS n;
INSERT INTO fleet.session (id, organization_id, state, spec, timeout, lifetime_limit, create_time, state_time,
    queue_expire_time, start_time, expire_time, end_time, node_id, registration_id, node_address, attach_url, epoch,
    close_reason, close_message, client_count, warnings, request_id, request_digest, sequence, revision, due_time)
  SELECT 'pbs_' || lpad(n::text, 26, '0'),
    CASE WHEN n <= 1000 THEN 'o_20' WHEN n % 2 = 0 THEN 'o_0' ELSE 'o_' || n % 20 END,
    state, '{"browser_type": "CHROME"}', '1 hour', '1 day', create_time, create_time, now() + interval '1 hour',
    CASE WHEN state <> 'QUEUED' THEN create_time END, CASE WHEN state <> 'QUEUED' THEN now() + interval '1 hour' END,
    CASE WHEN state = 'CLOSED' THEN now() END,
    CASE WHEN state <> 'QUEUED' THEN 'nod_' || n % 50 END, CASE WHEN state <> 'QUEUED' THEN 'reg_1' END, 'a:1',
    'ws://a', 1, CASE WHEN state = 'CLOSED' THEN 'IDLE' END, '', 0, '{}', 'once ' || n, '', 3, 3,
    CASE WHEN n % 10 = 0 THEN now() - interval '1 minute' ELSE now() + interval '1 hour' END
  FROM (SELECT n, now() - (20000 - n) * interval '1 minute' AS create_time,
      CASE WHEN n <= 18000 THEN 'CLOSED' WHEN n > 19700 THEN 'QUEUED' ELSE 'RUNNING' END AS state
    FROM generate_series(1, 20000) AS n) AS made;
ANALYZE;
"""
_BIG, _SMALL, _OLD = OrganizationId("o_0"), OrganizationId("o_3"), OrganizationId("o_20")
_OPEN = tuple(state for state in SessionState if not state.is_final)
_NODE = Registration(node_id=NodeId("nod_7"), registration_id="reg_1")
_PAGE = PageRequest(size=50)


@pytest.fixture
async def connection(empty_database: str) -> AsyncIterator[Connection]:
    await migrate_fleet(Secret(empty_database))
    connection = await asyncpg.connect(empty_database)
    await connection.execute(_FILL)
    yield connection
    await connection.close()


async def test_what_runs_often_touches_few_rows(connection: Connection) -> None:
    tx = PostgresTransaction(connection, RandomIds())
    now, position = await tx.now(), await tx.sessions.position()
    for number in range(19_000, 19_050):
        await connection.execute(
            "UPDATE fleet.session SET change_xid = pg_current_xact_id() WHERE id = 'pbs_' || lpad($1, 26, '0')",
            str(number),
        )
    held = await tx.sessions.on_node(_NODE.node_id)
    reports = [a_report(replace(_NODE, node_id=NodeId(f"nod_{number}"))) for number in range(20)]

    def page(query: SessionQuery, page: PageRequest = _PAGE) -> _Call:
        return lambda: tx.sessions.page(query, page)

    most: dict[str, tuple[int, _Call]] = {
        "changes": (50, lambda: tx.sessions.changes(since=position)),
        "a heartbeat": (len(held), lambda: tx.nodes.beat(a_report(_NODE))),
        "heartbeats": (20 * len(held), lambda: tx.nodes.beats(reports)),
        "a report": (3 * len(held), lambda: tx.sessions.record_activity(a_report(_NODE, running=(*held,)), now=now)),
        "who waits": (300, lambda: tx.queue.waiting(limit=100)),
        "how many wait": (300, tx.queue.size),
        "an intake": (2, lambda: tx.sessions.intake(_BIG, "once 77", BrowserType.MSEDGE)),
        "what is due": (200, page(SessionQuery(due_before=now + MINUTE, states=_OPEN))),
        "everybody's newest": (51, page(SessionQuery())),
        "open ones of who has none": (0, page(SessionQuery(organization_id=_OLD, states=_OPEN))),
    }
    for organization_id in (_BIG, _SMALL, _OLD):
        newest = SessionQuery(organization_id=organization_id)
        most[f"newest of {organization_id}"] = (51, page(newest))
        most[f"oldest of {organization_id}"] = (51, page(replace(newest, order=SessionOrder.OLDEST)))
        most[f"more of {organization_id}"] = (51, page(newest, PageRequest(size=50, after=numbered(10_000))))
    touched = {what: await _touched(connection, call) for what, (_, call) in most.items()}
    assert {what: rows for what, rows in touched.items() if rows > most[what][0]} == {}


async def _touched(connection: Connection, call: _Call) -> int:
    """Return how many rows of the sessions a call's statement reads."""
    statements: list[tuple[str, tuple[object, ...]]] = []

    def note(statement: asyncpg.connection.LoggedQuery) -> None:
        statements.append((statement.query, tuple(statement.args)))

    with connection.query_logger(note):
        await call()
        # The driver tells of a statement in the loop's next turn.
        await asyncio.sleep(0)
    # Before it the driver may have asked about types.
    query, args = statements[-1]
    async with connection.transaction():
        explained: str = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *args)
    (plan,) = json.loads(explained)
    return sum(_rows_read(node) for node in _nodes(plan["Plan"]))


def _nodes(plan: _PlanNode) -> Iterator[_PlanNode]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _rows_read(node: _PlanNode) -> int:
    if node.get("Relation Name") != "session" or "Scan" not in node["Node Type"]:
        return 0
    return int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
