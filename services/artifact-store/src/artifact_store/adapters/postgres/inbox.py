"""The `inbox` table: which events were applied."""

from datetime import datetime

from fleetkit.postgres import Connection


class PostgresInbox:
    """See Inbox."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(self, message_id: str, *, now: datetime) -> bool:
        # A second receiver waits here for the first one's transaction to end.
        tag = await self._connection.execute(
            "INSERT INTO artifacts.inbox (message_id, receive_time) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            message_id,
            now,
        )
        return tag.endswith(" 1")

    async def prune(self, *, before: datetime, limit: int) -> int:
        tag = await self._connection.execute(
            """DELETE FROM artifacts.inbox WHERE message_id IN (
                SELECT message_id FROM artifacts.inbox WHERE receive_time < $1
                ORDER BY receive_time LIMIT $2 FOR UPDATE SKIP LOCKED)""",
            before,
            limit,
        )
        return int(tag.rpartition(" ")[2])
