"""The `session_end` table: which sessions have ended, and when."""

from datetime import datetime

from artifact_store.domain.artifact import OrganizationId, SessionId
from artifact_store.domain.retention import SessionEnd
from fleetkit.postgres import Connection


class PostgresSessionEnds:
    """See SessionEnds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, session_id: SessionId) -> SessionEnd | None:
        row = await self._connection.fetchrow(
            "SELECT session_id, organization_id, sequence, end_time FROM artifacts.session_end WHERE session_id = $1",
            session_id,
        )
        if row is None:
            return None
        return SessionEnd(
            session_id=SessionId(row["session_id"]),
            organization_id=OrganizationId(row["organization_id"]),
            sequence=row["sequence"],
            end_time=row["end_time"],
        )

    async def put(self, end: SessionEnd) -> bool:
        tag = await self._connection.execute(
            """INSERT INTO artifacts.session_end AS known (session_id, organization_id, sequence, end_time)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (session_id) DO UPDATE SET
                    organization_id = excluded.organization_id, sequence = excluded.sequence,
                    end_time = excluded.end_time
                WHERE known.sequence < excluded.sequence""",
            end.session_id,
            end.organization_id,
            end.sequence,
            end.end_time,
        )
        return tag.endswith(" 1")

    async def prune(self, *, before: datetime, limit: int) -> int:
        tag = await self._connection.execute(
            """DELETE FROM artifacts.session_end WHERE session_id IN (
                SELECT session_id FROM artifacts.session_end ended
                WHERE end_time < $1 AND NOT EXISTS (
                    SELECT FROM artifacts.artifact
                    WHERE organization_id = ended.organization_id AND session_id = ended.session_id)
                ORDER BY end_time LIMIT $2 FOR UPDATE SKIP LOCKED)""",
            before,
            limit,
        )
        return int(tag.rpartition(" ")[2])
