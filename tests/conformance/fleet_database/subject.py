"""The two implementations of the Database port, and what its tests say to either of them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import asyncpg

from browserfleet.event.v1 import session_event_pb2
from fleetkit.paging import PageRequest
from session_api.adapters.postgres.database import PostgresDatabase
from session_api.domain.browser import BrowserType
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import Node, Registration
from session_api.domain.session import Session
from session_api.usecases.ports import Database
from session_api.usecases.queries import SessionQuery
from tests.support.fleet_builders import NOON, a_new_node
from tests.support.fleet_memory import MemoryDatabase, News

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of the outbox, as far as both implementations show it."""

    action: str
    subject: str
    # Of the session's event.
    sequence: int | None = None
    # Of a schedule.
    due_time: datetime | None = None


class Subject(Protocol):
    """An implementation, and a way to see what the port does not show."""

    @property
    def database(self) -> Database: ...
    async def messages(self) -> list[Message]: ...
    async def is_somebody_waiting(self) -> bool:
        """Whether a transaction waits for another one to end."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    database: MemoryDatabase

    async def messages(self) -> list[Message]:
        return [_message_of(news) for news in self.database.outbox]

    async def is_somebody_waiting(self) -> bool:
        return self.database.waiting > 0


@dataclass(frozen=True, slots=True)
class Postgres:
    database: PostgresDatabase
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def messages(self) -> list[Message]:
        rows = await self.connection.fetch("SELECT action, subject, payload FROM fleet.outbox ORDER BY id")
        return [_message_in(row["action"], row["subject"], row["payload"]) for row in rows]

    async def is_somebody_waiting(self) -> bool:
        waiting: bool = await self.connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return waiting


def _message_of(news: News) -> Message:
    if news.due_time is not None:
        return Message(action=news.action, subject=news.subject, due_time=news.due_time)
    sequence = news.session.sequence if news.session else None
    return Message(action=news.action, subject=news.subject, sequence=sequence)


def _message_in(action: str, subject: str, payload: bytes) -> Message:
    if action == "PUBLISH" and subject.startswith("schedule."):
        due = session_event_pb2.DeadlineDue.FromString(payload)
        return Message(action=action, subject=subject, due_time=due.expire_time.ToDatetime(UTC))
    if subject.startswith("fleet.v1.session."):
        event = session_event_pb2.SessionEvent.FromString(payload)
        return Message(action=action, subject=subject, sequence=event.sequence)
    return Message(action=action, subject=subject)


async def present(database: Database) -> datetime:
    """Return the database's present instant."""
    async with database.single() as tx:
        return await tx.now()


async def register(
    database: Database,
    *,
    name: str = "node-a",
    slots: int = 2,
    registration_id: str = "reg_1",
    now: datetime = NOON,
    browsers: tuple[BrowserType, ...] = (BrowserType.CHROME,),
) -> Node:
    ids = Registration(node_id=NodeId(f"nod_{name}"), registration_id=registration_id)
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(name=name, slots=slots, browsers=browsers), ids=ids, now=now)
        return await tx.nodes.get(registration.node_id)


async def stored_node(database: Database, node_id: NodeId) -> Node:
    async with database.single() as tx:
        return await tx.nodes.get(node_id)


async def save_node(database: Database, node: Node) -> Node:
    async with database.transaction() as tx:
        await tx.nodes.save(node)
        return await tx.nodes.get(node.id)


async def add(database: Database, *sessions: Session) -> None:
    async with database.transaction() as tx:
        for session in sessions:
            await tx.sessions.add(session)


async def save(database: Database, session: Session) -> Session:
    async with database.transaction() as tx:
        await tx.sessions.save(session)
        return await tx.sessions.get(session.id)


async def stored(database: Database, session_id: SessionId) -> Session:
    async with database.single() as tx:
        return await tx.sessions.get(session_id)


def numbered(number: int) -> SessionId:
    """Return an ID that sorts by its number."""
    return SessionId(f"pbs_{number:026d}")


async def pages(database: Database, query: SessionQuery, size: int) -> list[list[SessionId]]:
    """Return the IDs of every page of a list."""
    found: list[list[SessionId]] = []
    after = None
    while True:
        async with database.single() as tx:
            page = await tx.sessions.page(query, PageRequest(size=size, after=after))
        found.append([session.id for session in page.items])
        after = page.next_after
        if after is None:
            return found


async def listed(database: Database, query: SessionQuery) -> list[SessionId]:
    """Return the IDs of a list that fits on one page."""
    (only,) = await pages(database, query, 50)
    return only
