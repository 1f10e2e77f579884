"""Lists of sessions: conditions where the query has some, and a place to go on from that is stable under inserts."""

import json
from datetime import datetime

import asyncpg

from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.adapters.postgres.conditions import Conditions
from session_api.adapters.postgres.session_rows import LISTED_COLUMNS, session_of
from session_api.domain.session import Session
from session_api.usecases.queries import SessionOrder, SessionQuery

_ORDERS = {
    SessionOrder.NEWEST: "id DESC",
    SessionOrder.OLDEST: "id",
    SessionOrder.EXPIRING_FIRST: "expire_time, id",
    SessionOrder.EXPIRING_LAST: "expire_time DESC, id DESC",
}
# Of one organization it is the same order, which only an index by organization has: the planner would rather walk
# through all sessions by ID, and an organization whose sessions are old would pay for everybody's newer ones.
_ORDERS_OF_ONE = _ORDERS | {
    SessionOrder.NEWEST: "organization_id DESC, id DESC",
    SessionOrder.OLDEST: "organization_id, id",
}


async def page_of_sessions(connection: Connection, query: SessionQuery, page: PageRequest) -> Page[Session]:
    """Return one page in the query's order."""
    where = _conditions(query)
    if page.after is not None:
        _go_on(where, query.order, page.after)
    order = (_ORDERS if query.organization_id is None else _ORDERS_OF_ONE)[query.order]
    limit = where.value(page.size + 1)
    rows = await connection.fetch(
        f"SELECT {LISTED_COLUMNS} FROM fleet.session WHERE {where} ORDER BY {order} LIMIT {limit}",
        *where.values,
    )
    more = len(rows) > page.size
    return Page(
        items=[session_of(row) for row in rows[: page.size]],
        next_after=_place_of(rows[page.size - 1], query.order) if more else None,
    )


def _conditions(query: SessionQuery) -> Conditions:
    where = Conditions()
    if query.organization_id is not None:
        # Not `=`: the planner would drop what it knows to be constant from the order.
        where.add("organization_id = ANY ({}::text[])", [query.organization_id])
    if query.states:
        where.add("state = ANY ({}::text[])", [state.value for state in query.states])
        if not any(state.is_final for state in query.states):
            # The same, for the indexes of what has not ended.
            where.add("end_time IS NULL")
    if query.browser_types:
        where.add("browser_type = ANY ({}::text[])", [kind.value for kind in query.browser_types])
    if query.node_id is not None:
        where.add("node_id = {}", query.node_id)
    if query.labels:
        where.add("labels @> {}::jsonb", json.dumps(dict(query.labels)))
    if query.create_before is not None:
        where.add("create_time < {}", query.create_before)
    if query.create_after is not None:
        where.add("create_time >= {}", query.create_after)
    if query.expire_before is not None:
        where.add("expire_time < {}", query.expire_before)
    if query.due_before is not None:
        # Whoever asks may have a clock that is ahead: nothing is due before the database says so.
        where.add("end_time IS NULL AND due_time < LEAST({}, statement_timestamp())", query.due_before)
    if query.order in {SessionOrder.EXPIRING_FIRST, SessionOrder.EXPIRING_LAST}:
        where.add("expire_time IS NOT NULL")
    return where


def _go_on(where: Conditions, order: SessionOrder, after: str) -> None:
    match order:
        case SessionOrder.NEWEST:
            where.add("id < {}", after)
        case SessionOrder.OLDEST:
            where.add("id > {}", after)
        case SessionOrder.EXPIRING_FIRST | SessionOrder.EXPIRING_LAST:
            instant, _, session_id = after.partition(" ")
            sign = ">" if order is SessionOrder.EXPIRING_FIRST else "<"
            where.add(f"(expire_time, id) {sign} ({{}}, {{}})", datetime.fromisoformat(instant), session_id)


def _place_of(row: asyncpg.Record, order: SessionOrder) -> str:
    if order in {SessionOrder.NEWEST, SessionOrder.OLDEST}:
        return str(row["id"])
    return f"{row['expire_time'].isoformat()} {row['id']}"
