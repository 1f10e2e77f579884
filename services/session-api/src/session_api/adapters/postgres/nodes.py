"""Nodes in Postgres."""

import functools
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection
from session_api.domain.browser import BrowserTier, BrowserType
from session_api.domain.capabilities import Capabilities
from session_api.domain.errors import NodeNameTaken, NodeNotFound
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import NewNode, Node, NodeReport, NodeState, Pressure, Registration
from session_api.domain.session import Allocation, SessionState
from session_api.usecases.ports import Beat, HeldSession

_COLUMNS = (
    "id, name, registration_id, state, address, attach_url, slots, slots_used, browsers, register_time,"
    " heartbeat_time, report_time, is_cordoned, is_stopping, drain_time, cpu, memory,"
    " tiers, proxy_locations, extensions, warm_browsers"
)
# The same rule as Node.state, for guards and lists.
_STATE = "CASE WHEN {stopping} OR {drain} IS NOT NULL THEN 'DRAINING' WHEN {cordoned} THEN 'CORDONED' ELSE 'ACTIVE' END"

# One row for each session that a node holds, one for a node that holds none. `heartbeat_time` is NULL for a node that
# was not written: its registration has ended, unless it `is_busy`.
_BEATS = (
    "WITH report AS (SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::float8[], $5::float8[],"
    " $6::integer[]) AS report (node_id, registration_id, is_stopping, cpu, memory, warm_browsers)),"
    " known AS MATERIALIZED (SELECT node.id FROM fleet.node JOIN report ON node.id = report.node_id"
    " AND node.registration_id = report.registration_id"
    # Said twice, so that the planner takes it for the few rows that it is.
    " WHERE node.id = ANY ($1::text[]) AND node.state <> 'LOST' FOR NO KEY UPDATE OF node),"
    " beat AS (UPDATE fleet.node SET report_time = heartbeat_time, heartbeat_time = clock_timestamp(),"
    " is_stopping = report.is_stopping, cpu = report.cpu, memory = report.memory,"
    " warm_browsers = report.warm_browsers,"
    f" state = {_STATE.format(stopping='report.is_stopping', drain='drain_time', cordoned='is_cordoned')}"
    " FROM known JOIN report ON report.node_id = known.id WHERE node.id = known.id"
    " RETURNING node.id, node.registration_id, node.heartbeat_time)"
    " SELECT report.node_id, beat.heartbeat_time, session.id, session.epoch, session.state, session.state_time,"
    " session.timeout, session.expire_time, session.client_count, session.viewer_count,"
    " session.idle_timeout IS NOT NULL AS has_idle_timeout,"
    " COALESCE((session.control ->> 'generation')::bigint, 0) AS control_generation,"
    " beat.id IS NULL AND EXISTS (SELECT FROM fleet.node WHERE node.id = report.node_id"
    " AND node.registration_id = report.registration_id AND node.state <> 'LOST') AS is_busy"
    " FROM report LEFT JOIN beat ON beat.id = report.node_id"
    " LEFT JOIN fleet.session ON session.node_id = beat.id AND session.end_time IS NULL"
    " AND session.registration_id = beat.registration_id"
)
# Waits for nobody: a row that a stuck transaction holds must not hold up the heartbeats of all other nodes.
_BEATS_OF_FREE = _BEATS.replace("OF node)", "OF node SKIP LOCKED)")


class PostgresNodeRepository:
    """See NodeRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        # A drain has done its work when the node comes back empty; the cordon stays until somebody lifts it.
        node_id = await self._connection.fetchval(
            "INSERT INTO fleet.node (id, name, registration_id, state, address, attach_url, slots, slots_used,"
            " browsers, register_time, heartbeat_time, report_time, owner_id,"
            " tiers, proxy_locations, extensions, warm_browsers)"
            " VALUES ($1, $2, $3, 'ACTIVE', $4, $5, $6, 0, $7, $8, $8, $8, $9, $10, $11, $12, 0)"
            " ON CONFLICT (name) DO UPDATE SET registration_id = excluded.registration_id,"
            " state = CASE WHEN node.is_cordoned THEN 'CORDONED' ELSE 'ACTIVE' END,"
            " address = excluded.address, attach_url = excluded.attach_url, slots = excluded.slots, slots_used = 0,"
            " browsers = excluded.browsers, register_time = excluded.register_time,"
            " heartbeat_time = excluded.heartbeat_time, report_time = excluded.report_time,"
            " owner_id = excluded.owner_id, is_stopping = false, drain_time = NULL, cpu = NULL, memory = NULL,"
            " tiers = excluded.tiers, proxy_locations = excluded.proxy_locations, extensions = excluded.extensions,"
            " warm_browsers = 0"
            " WHERE node.owner_id IS NULL OR node.owner_id = excluded.owner_id RETURNING id",
            ids.node_id,
            node.name,
            ids.registration_id,
            node.address,
            node.attach_url,
            node.slots,
            json.dumps({kind.value: product for kind, product in node.browsers.items()}),
            now,
            node.owner_id,
            sorted(tier.value for tier in node.capabilities.tiers),
            sorted(node.capabilities.proxy_locations),
            sorted(node.capabilities.extensions),
        )
        if node_id is None:
            raise NodeNameTaken("A node of another organization has this name.")
        return Registration(node_id=NodeId(node_id), registration_id=ids.registration_id)

    async def get(self, node_id: NodeId) -> Node:
        return _found(await self._connection.fetchrow(f"SELECT {_COLUMNS} FROM fleet.node WHERE id = $1", node_id))

    async def lock(self, node_id: NodeId) -> Node:
        return _found(
            await self._connection.fetchrow(
                f"SELECT {_COLUMNS} FROM fleet.node WHERE id = $1 FOR NO KEY UPDATE", node_id
            )
        )

    async def save(self, node: Node) -> None:
        state = _STATE.format(stopping="is_stopping", drain="$3::timestamptz", cordoned="$2")
        await self._connection.execute(
            f"UPDATE fleet.node SET is_cordoned = $2, drain_time = $3,"
            f" state = CASE WHEN state = 'LOST' THEN state ELSE {state} END WHERE id = $1",
            node.id,
            node.is_cordoned,
            node.drain_time,
        )

    async def all(self) -> list[Node]:
        rows = await self._connection.fetch(f"SELECT {_COLUMNS} FROM fleet.node ORDER BY id")
        return [_node(row) for row in rows]

    async def page(self, states: Sequence[NodeState], page: PageRequest) -> Page[Node]:
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM fleet.node WHERE (cardinality($1::text[]) = 0 OR state = ANY ($1))"
            " AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3",
            [state.value for state in states],
            page.after,
            page.size + 1,
        )
        found = [_node(row) for row in rows[: page.size]]
        return Page(items=found, next_after=found[-1].id if len(rows) > page.size else None)

    async def take_slot(self, node: Node) -> bool:
        status = await self._connection.execute(
            "UPDATE fleet.node SET slots_used = slots_used + 1, warm_browsers = GREATEST(warm_browsers - 1, 0)"
            " WHERE id = $1 AND registration_id = $2 AND state = 'ACTIVE' AND slots_used < slots",
            node.id,
            node.registration_id,
        )
        return status == "UPDATE 1"

    async def release_slot(self, allocation: Allocation) -> None:
        await self._connection.execute(
            "UPDATE fleet.node SET slots_used = slots_used - 1"
            " WHERE id = $1 AND registration_id = $2 AND slots_used > 0",
            allocation.node_id,
            allocation.registration_id,
        )

    async def beat(self, report: NodeReport) -> Beat | None:
        return (await self._beats(_BEATS, [report]))[report.node_id]

    async def beats(self, reports: Sequence[NodeReport]) -> dict[NodeId, Beat | None]:
        return await self._beats(_BEATS_OF_FREE, reports)

    async def _beats(self, statement: str, reports: Sequence[NodeReport]) -> dict[NodeId, Beat | None]:
        rows = await self._connection.fetch(
            statement,
            [report.node_id for report in reports],
            [report.registration_id for report in reports],
            [report.draining for report in reports],
            [report.pressure.cpu if report.pressure else None for report in reports],
            [report.pressure.memory if report.pressure else None for report in reports],
            [report.warm_browsers for report in reports],
        )
        beats: dict[NodeId, Beat | None] = {}
        for row in rows:
            node_id, now = NodeId(row["node_id"]), row["heartbeat_time"]
            if now is None:
                if not row["is_busy"]:
                    beats[node_id] = None
                continue
            beat = beats.get(node_id)
            if beat is None:
                beat = beats[node_id] = Beat(now=now, held=[])
            if row["id"]:
                beat.held.append(_held(row))
        return beats

    async def watch(self, *, now: datetime, longest_gap: timedelta) -> datetime:
        since: datetime = await self._connection.fetchval(
            "INSERT INTO fleet.node_watch AS watch (since, seen) VALUES ($1, $1) ON CONFLICT (single) DO UPDATE"
            " SET since = CASE WHEN $1 - watch.seen > $2 THEN $1 ELSE watch.since END, seen = $1 RETURNING since",
            now,
            longest_gap,
        )
        return since

    async def give_up(self, *, silent_since: datetime) -> list[Node]:
        rows = await self._connection.fetch(
            f"UPDATE fleet.node SET state = 'LOST' WHERE state <> 'LOST' AND heartbeat_time < $1 RETURNING {_COLUMNS}",
            silent_since,
        )
        return [_node(row) for row in rows]


def _held(row: asyncpg.Record) -> HeldSession:
    return HeldSession(
        session_id=SessionId(row["id"]),
        epoch=row["epoch"],
        state=SessionState(row["state"]),
        state_time=row["state_time"],
        timeout=row["timeout"],
        expire_time=row["expire_time"],
        client_count=row["client_count"],
        viewer_count=row["viewer_count"],
        has_idle_timeout=row["has_idle_timeout"],
        control_generation=row["control_generation"],
    )


def _found(row: asyncpg.Record | None) -> Node:
    if row is None:
        raise NodeNotFound
    return _node(row)


# Most nodes of a fleet have the same, and all of them are read for each picture of it.
@functools.lru_cache(maxsize=256)
def _browsers(text: str) -> dict[BrowserType, str]:
    browsers: dict[str, str] = json.loads(text)
    return {BrowserType(kind): product for kind, product in browsers.items()}


@functools.lru_cache(maxsize=256)
def _capabilities(
    tiers: tuple[str, ...], proxy_locations: tuple[str, ...], extensions: tuple[str, ...]
) -> Capabilities:
    return Capabilities(
        tiers=frozenset(BrowserTier(tier) for tier in tiers if tier in BrowserTier.__members__),
        proxy_locations=frozenset(proxy_locations),
        extensions=frozenset(extensions),
    )


def _node(row: asyncpg.Record) -> Node:
    return Node(
        id=NodeId(row["id"]),
        name=row["name"],
        registration_id=row["registration_id"],
        address=row["address"],
        attach_url=row["attach_url"],
        slots=row["slots"],
        slots_used=row["slots_used"],
        browsers=_browsers(row["browsers"]),
        register_time=row["register_time"],
        heartbeat_time=row["heartbeat_time"],
        report_time=row["report_time"],
        is_lost=row["state"] == NodeState.LOST.value,
        is_cordoned=row["is_cordoned"],
        drain_time=row["drain_time"],
        is_stopping=row["is_stopping"],
        pressure=Pressure(cpu=row["cpu"], memory=row["memory"]) if row["cpu"] is not None else None,
        capabilities=_capabilities(tuple(row["tiers"]), tuple(row["proxy_locations"]), tuple(row["extensions"])),
        warm_browsers=row["warm_browsers"],
    )
