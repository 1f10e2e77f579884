"""The bus as session-api fills it, and what artifact-store has made of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
from nats.aio.client import Client
from nats.js.api import ConsumerInfo, RawStreamMsg
from nats.js.errors import NotFoundError

from artifact_store.adapters.nats_session_events import PLAN
from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEAD_LETTERS_STREAM
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Bus:
    client: Client

    async def publish(self, *events: session_event_pb2.SessionEvent, more: bytes = b"") -> None:
        """Publish without a message ID, so that the server drops no repeats."""
        publish = self.client.jetstream().publish
        await asyncio.gather(
            *(
                publish(f"fleet.v1.session.{event.session_id}.{event.type}", event.SerializeToString() + more)
                for event in events
            )
        )

    async def consumer(self) -> ConsumerInfo | None:
        with contextlib.suppress(NotFoundError):
            info: ConsumerInfo = await self.client.jetstream().consumer_info(PLAN.stream, PLAN.name)
            return info
        return None

    async def settled(self, *, messages: int) -> None:
        """Return when that many messages of the stream, and all others, are answered."""

        async def check() -> bool:
            info = await self.consumer()
            return bool(
                info
                and info.ack_floor
                and info.ack_floor.stream_seq >= messages
                and not info.num_pending
                and not info.num_ack_pending
            )

        await eventually(check, within=30, what="every message is settled")

    async def letters(self, *, number: int) -> list[RawStreamMsg]:
        """Return the dead letters, oldest first, once there are `number` of them."""
        stream = self.client.jetstream()

        async def stored() -> bool:
            return bool((await stream.stream_info(DEAD_LETTERS_STREAM)).state.messages >= number)

        await eventually(stored, within=15, what=f"{number} dead letters")
        return [await stream.get_msg(DEAD_LETTERS_STREAM, sequence) for sequence in range(1, number + 1)]


@dataclass(frozen=True, slots=True)
class Tables:
    """artifact-store's tables, looked at from outside."""

    dsn: str

    async def inbox(self) -> set[str]:
        return {row["message_id"] for row in await self._fetch("SELECT message_id FROM artifacts.inbox")}

    async def ends(self) -> dict[str, tuple[int, int]]:
        """Return each ended session's sequence, and the transaction that wrote it."""
        rows = await self._fetch("SELECT session_id, sequence, xmin::text::bigint AS writer FROM artifacts.session_end")
        return {row["session_id"]: (row["sequence"], row["writer"]) for row in rows}

    async def has_ends(self, number: int, *, within: float = 20) -> None:
        async def check() -> bool:
            return len(await self.ends()) >= number

        await eventually(check, within=within, what=f"the ends of {number} sessions are known")

    async def _fetch(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query)
            return rows
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def refusing(admin_dsn: str, dsn: str) -> AsyncIterator[None]:
    """Have a database cut every connection and take none within the block."""
    name = urlsplit(dsn).path.removeprefix("/")
    admin = await asyncpg.connect(admin_dsn)
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
