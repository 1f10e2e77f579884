"""Nodes in Postgres."""

import json
from datetime import datetime

import asyncpg

from fleetkit.postgres import Connection
from session_api.domain.node import NewNode, Node, NodeState, Registration
from session_api.domain.session import Allocation, BrowserType, NodeId

_COLUMNS = "id, name, registration_id, state, address, attach_url, slots, slots_used, browsers, heartbeat_time"


class PostgresNodeRepository:
    """See NodeRepository."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        node_id = await self._connection.fetchval(
            "INSERT INTO fleet.node (id, name, registration_id, state, address, attach_url, slots, slots_used,"
            " browsers, register_time, heartbeat_time) VALUES ($1, $2, $3, 'ACTIVE', $4, $5, $6, 0, $7, $8, $8)"
            " ON CONFLICT (name) DO UPDATE SET registration_id = excluded.registration_id, state = 'ACTIVE',"
            " address = excluded.address, attach_url = excluded.attach_url, slots = excluded.slots, slots_used = 0,"
            " browsers = excluded.browsers, register_time = excluded.register_time,"
            " heartbeat_time = excluded.heartbeat_time RETURNING id",
            ids.node_id,
            node.name,
            ids.registration_id,
            node.address,
            node.attach_url,
            node.slots,
            json.dumps({str(kind): product for kind, product in node.browsers.items()}),
            now,
        )
        return Registration(node_id=NodeId(node_id), registration_id=ids.registration_id)

    async def get(self, node_id: NodeId) -> Node | None:
        row = await self._connection.fetchrow(f"SELECT {_COLUMNS} FROM fleet.node WHERE id = $1", node_id)
        return _node(row) if row else None

    async def all(self) -> list[Node]:
        rows = await self._connection.fetch(f"SELECT {_COLUMNS} FROM fleet.node ORDER BY id")
        return [_node(row) for row in rows]

    async def take_slot(self, node: Node) -> bool:
        status = await self._connection.execute(
            "UPDATE fleet.node SET slots_used = slots_used + 1"
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

    async def beat(self, node_id: NodeId, registration_id: str, *, draining: bool, now: datetime) -> bool:
        status = await self._connection.execute(
            "UPDATE fleet.node SET heartbeat_time = $3, state = $4"
            " WHERE id = $1 AND registration_id = $2 AND state <> 'LOST'",
            node_id,
            registration_id,
            now,
            "DRAINING" if draining else "ACTIVE",
        )
        return status == "UPDATE 1"

    async def give_up(self, *, silent_since: datetime) -> list[NodeId]:
        rows = await self._connection.fetch(
            "UPDATE fleet.node SET state = 'LOST' WHERE state <> 'LOST' AND heartbeat_time < $1 RETURNING id",
            silent_since,
        )
        return [NodeId(row["id"]) for row in rows]


def _node(row: asyncpg.Record) -> Node:
    browsers: dict[str, str] = json.loads(row["browsers"])
    return Node(
        id=NodeId(row["id"]),
        name=row["name"],
        registration_id=row["registration_id"],
        state=NodeState(row["state"]),
        address=row["address"],
        attach_url=row["attach_url"],
        slots=row["slots"],
        slots_used=row["slots_used"],
        browsers={BrowserType(kind): product for kind, product in browsers.items()},
        heartbeat_time=row["heartbeat_time"],
    )
