"""The outbox: rows written with the change that they tell of, relayed to NATS after it."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.bus import schedule_headers
from fleetkit.ids import IdSource
from fleetkit.postgres import Connection, Pool, typed_errors
from fleetkit.rpc.times import timestamp
from fleetkit.telemetry import inject_headers
from session_api.domain.identifiers import SessionId
from session_api.domain.node import Node
from session_api.domain.session import Session
from session_api.lease_messages import control_message, occupancy_message

# Any fixed number: one relay at a time, so that the events of a session stay in order.
_RELAY_LOCK = 0x6F7574626F78


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be done on the bus: publish `payload` on `subject`, or purge the subject."""

    row_id: int
    purge: bool
    subject: str
    message_id: str
    headers: dict[str, str]
    payload: bytes


class OutboxRows:
    """What a change tells of itself, collected until it is written with the change."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._rows: list[tuple[str, str, str, str, bytes]] = []

    def announce(self, session: Session, *, what: str, now: datetime) -> None:
        event = session_event_pb2.SessionEvent(
            id=self._ids.new("evt"),
            type=what,
            session_id=session.id,
            organization_id=session.organization_id,
            sequence=session.sequence,
            epoch=session.epoch,
            state=session_pb2.Session.State.Value(f"STATE_{session.state}"),
            event_time=timestamp(now),
            node_id=session.allocation.node_id if session.allocation else "",
        )
        if session.close_reason is not None:
            event.close_reason = session_pb2.CloseReason.Value(f"CLOSE_REASON_{session.close_reason}")
        if session.expire_time is not None:
            event.expire_time.FromDatetime(session.expire_time)
        if session.occupancy is not None:
            event.occupancy.CopyFrom(occupancy_message(session.occupancy))
        if session.control is not None:
            event.control.CopyFrom(control_message(session.control))
        event.labels.update(session.labels)
        subject = f"fleet.v1.session.{session.id}.{what}"
        self._add("PUBLISH", subject, event.id, inject_headers(), event.SerializeToString())

    def announce_node(self, node: Node, *, what: str, now: datetime) -> None:
        event = session_event_pb2.NodeEvent(
            id=self._ids.new("evt"), type=what, node_id=node.id, name=node.name, event_time=timestamp(now)
        )
        subject = f"fleet.v1.node.{node.id}.{what}"
        self._add("PUBLISH", subject, event.id, inject_headers(), event.SerializeToString())

    def schedule(self, session: Session) -> None:
        due_time = session.countdown_time
        if due_time is None:
            raise ValueError("a session that is not running counts nothing down")
        due = session_event_pb2.DeadlineDue(session_id=session.id, expire_time=timestamp(due_time))
        headers = schedule_headers(due_time=due_time, target=f"due.session.{session.id}")
        self._add(
            "PUBLISH",
            f"schedule.session.{session.id}",
            self._ids.new("evt"),
            headers | inject_headers(),
            due.SerializeToString(),
        )

    def cancel_schedule(self, session_id: SessionId) -> None:
        self._add("PURGE", f"schedule.session.{session_id}", self._ids.new("evt"), {}, b"")

    def _add(self, action: str, subject: str, message_id: str, headers: dict[str, str], payload: bytes) -> None:
        self._rows.append((action, subject, message_id, json.dumps(headers), payload))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def take(self) -> list[list[object]]:
        """Return what was collected, column by column as in WRITTEN, and forget it."""
        rows, self._rows = self._rows, []
        return [list(column) for column in zip(*rows, strict=True)]


# What an INSERT INTO fleet.outbox writes: its columns, and rows in order from five arrays, from a place on.
WRITTEN = "action, subject, message_id, headers, payload"


def written_from(place: int) -> str:
    """Return the FROM item that gives the rows of `OutboxRows.take`, bound at `place` and the four after it."""
    kinds = ("text", "text", "text", "jsonb", "bytea")
    arrays = ", ".join(f"${place + offset}::{kind}[]" for offset, kind in enumerate(kinds))
    return f"unnest({arrays}) WITH ORDINALITY AS news ({WRITTEN}, number)"


class PostgresOutbox:
    """See Outbox."""

    def __init__(self, connection: Connection, ids: IdSource) -> None:
        self._connection = connection
        self._rows = OutboxRows(ids)

    async def announce(self, session: Session, *, what: str, now: datetime) -> None:
        self._rows.announce(session, what=what, now=now)

    async def announce_node(self, node: Node, *, what: str, now: datetime) -> None:
        self._rows.announce_node(node, what=what, now=now)

    async def schedule(self, session: Session) -> None:
        self._rows.schedule(session)

    async def cancel_schedule(self, session_id: SessionId) -> None:
        self._rows.cancel_schedule(session_id)

    async def write(self) -> None:
        """Store what was collected, in one statement: the last of its transaction."""
        if self._rows:
            await self._connection.execute(
                f"INSERT INTO fleet.outbox ({WRITTEN}) SELECT {WRITTEN} FROM {written_from(1)} ORDER BY number",
                *self._rows.take(),
            )


class OutboxReader:
    """The relay's side: takes what is oldest, and forgets what was delivered."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def relay(self, deliver: Callable[[list[Message]], Awaitable[None]], *, limit: int = 200) -> int:
        """Hand up to `limit` messages to `deliver` in order and forget them; return how many there were.

        Nothing is forgotten when `deliver` raises: it may then see a message again. Returns 0 while another
        relay is at it.
        """
        with typed_errors():
            async with self._pool.acquire(timeout=5.0) as connection, connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _RELAY_LOCK):
                    return 0
                rows = await connection.fetch(
                    "SELECT id, action, subject, message_id, headers, payload FROM fleet.outbox ORDER BY id LIMIT $1",
                    limit,
                )
                messages = [
                    Message(
                        row_id=row["id"],
                        purge=row["action"] == "PURGE",
                        subject=row["subject"],
                        message_id=row["message_id"],
                        headers=json.loads(row["headers"]),
                        payload=row["payload"],
                    )
                    for row in rows
                ]
                if messages:
                    await deliver(messages)
                    await connection.execute(
                        "DELETE FROM fleet.outbox WHERE id = ANY ($1)", [message.row_id for message in messages]
                    )
                return len(messages)
