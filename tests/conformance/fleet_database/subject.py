"""The two implementations of the Database port, and what its tests say to either of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import asyncpg

from session_api.adapters.postgres.database import PostgresDatabase
from session_api.domain.node import Node, Registration
from session_api.domain.session import Allocation, NodeId, Session, SessionId
from session_api.usecases.ports import Database
from tests.support.fleet_builders import NOON, a_new_node
from tests.support.fleet_memory import MemoryDatabase, News

MINUTE = timedelta(minutes=1)


class Subject(Protocol):
    """An implementation, and a way to see what the port does not show."""

    @property
    def database(self) -> Database: ...
    async def news(self) -> list[News]: ...
    async def revoke(self, digest: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Memory:
    database: MemoryDatabase

    async def news(self) -> list[News]:
        return self.database.outbox

    async def revoke(self, digest: bytes) -> None:
        self.database.revoke(digest)


@dataclass(frozen=True, slots=True)
class Postgres:
    database: PostgresDatabase
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def news(self) -> list[News]:
        rows = await self.connection.fetch("SELECT action, subject FROM fleet.outbox ORDER BY id")
        return [News(action=row["action"], subject=row["subject"]) for row in rows]

    async def revoke(self, digest: bytes) -> None:
        await self.connection.execute("UPDATE fleet.api_key SET revoke_time = now() WHERE digest = $1", digest)


async def register(
    database: Database, *, name: str = "node-a", slots: int = 2, registration_id: str = "reg_1", now: datetime = NOON
) -> Node:
    ids = Registration(node_id=NodeId(f"nod_{name}"), registration_id=registration_id)
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(name=name, slots=slots), ids=ids, now=now)
        node = await tx.nodes.get(registration.node_id)
    assert node is not None
    return node


async def stored_node(database: Database, node_id: NodeId) -> Node:
    async with database.transaction() as tx:
        node = await tx.nodes.get(node_id)
    assert node is not None
    return node


def allocation_on(node: Node) -> Allocation:
    return Allocation(
        node_id=node.id,
        registration_id=node.registration_id,
        node_address=node.address,
        attach_url=node.attach_url,
    )


async def add(database: Database, *sessions: Session) -> None:
    async with database.transaction() as tx:
        for session in sessions:
            await tx.sessions.add(session)


async def stored(database: Database, session_id: SessionId) -> Session:
    async with database.transaction() as tx:
        return await tx.sessions.get(session_id)
