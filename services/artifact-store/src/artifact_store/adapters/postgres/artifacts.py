"""The `artifact` table."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from artifact_store.domain.artifact import (
    Artifact,
    ArtifactId,
    ArtifactKind,
    ArtifactState,
    Blob,
    OrganizationId,
    SessionId,
)
from artifact_store.domain.errors import ArtifactChanged, ArtifactNotFound
from artifact_store.usecases.ports import ArtifactQuery
from fleetkit.errors import InvalidArgument
from fleetkit.paging import Page, PageRequest
from fleetkit.postgres import Connection

_COLUMNS = """id, organization_id, session_id, run_id, kind, state, display_name, content_type, blob_key, size_bytes,
    sha256, failure_message, create_time, update_time, end_time, finish_tries, lease_expire_time, revision,
    delete_time"""
_SESSION_END = """(SELECT ended.end_time FROM artifacts.session_end ended
    WHERE ended.session_id = artifact.session_id AND ended.organization_id = artifact.organization_id)"""
_SELECT = f"SELECT {_COLUMNS}, {_SESSION_END} AS session_end_time FROM artifacts.artifact"  # our own column names


class PostgresArtifactRepository:
    """Works on one connection, within whatever transaction is open on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, artifact_id: ArtifactId) -> Artifact:
        row = await self._connection.fetchrow(f"{_SELECT} WHERE id = $1 AND delete_time IS NULL", artifact_id)
        if row is None:
            raise ArtifactNotFound("There is no such artifact.")
        return _artifact(row)

    async def find(self, artifact_id: ArtifactId) -> Artifact | None:
        row = await self._connection.fetchrow(f"{_SELECT} WHERE id = $1 FOR UPDATE", artifact_id)
        return None if row is None else _artifact(row)

    async def add(self, artifact: Artifact) -> None:
        tag = await self._connection.execute(
            f"""INSERT INTO artifacts.artifact ({_COLUMNS})
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
                ON CONFLICT (id) DO NOTHING""",  # our own column names
            *_values(artifact),
        )
        _expect_one(tag)

    async def save(self, artifact: Artifact) -> None:
        tag = await self._connection.execute(
            """UPDATE artifacts.artifact SET
                organization_id = $2, session_id = $3, run_id = $4, kind = $5, state = $6, display_name = $7,
                content_type = $8, blob_key = $9, size_bytes = $10, sha256 = $11, failure_message = $12,
                create_time = $13, update_time = $14, end_time = $15, finish_tries = $16, lease_expire_time = $17,
                revision = $18, delete_time = $19
                WHERE id = $1 AND revision = $18 - 1""",
            *_values(artifact),
        )
        _expect_one(tag)

    async def list(self, query: ArtifactQuery, page: PageRequest) -> Page[Artifact]:
        after_time, after_id = _position(page.after)
        rows = await self._connection.fetch(
            f"""{_SELECT}
                WHERE organization_id = $1 AND session_id = $2 AND delete_time IS NULL AND ($3::text IS NULL OR kind = $3)
                  AND ($4::timestamptz IS NULL OR (create_time, id) > ($4, $5))
                ORDER BY create_time, id LIMIT $6""",
            query.organization_id,
            query.session_id,
            query.kind.value if query.kind else None,
            after_time,
            after_id,
            page.size + 1,
        )
        items = [_artifact(row) for row in rows[: page.size]]
        more = len(rows) > page.size
        return Page(items=items, next_after=f"{items[-1].create_time.isoformat()}/{items[-1].id}" if more else None)

    async def claimable(self, *, now: datetime) -> Artifact | None:
        row = await self._connection.fetchrow(
            f"""{_SELECT}
                WHERE state = 'UPLOADED' AND (lease_expire_time IS NULL OR lease_expire_time <= $1)
                ORDER BY create_time LIMIT 1 FOR UPDATE SKIP LOCKED""",
            now,
        )
        return None if row is None else _artifact(row)

    async def abandoned(self, *, before: datetime, unheard_before: datetime) -> Artifact | None:
        row = await self._connection.fetchrow(
            f"""{_SELECT}
                WHERE state = 'PENDING' AND update_time < $1 AND ({_SESSION_END} < $1 OR update_time < $2)
                ORDER BY create_time LIMIT 1 FOR UPDATE SKIP LOCKED""",
            before,
            unheard_before,
        )
        return None if row is None else _artifact(row)

    async def expired(
        self, *, now: datetime, ended_before: Mapping[ArtifactKind, datetime], limit: int
    ) -> Sequence[Artifact]:
        rows = await self._connection.fetch(
            f"""{_SELECT} WHERE delete_time IS NOT NULL AND lease_expire_time <= $1
                ORDER BY delete_time LIMIT $2 FOR UPDATE SKIP LOCKED""",
            now,
            limit,
        )
        for kind, time in ended_before.items():
            rows += await self._connection.fetch(
                f"""{_SELECT}
                    WHERE kind = $1 AND state IN ('STORED', 'FAILED') AND delete_time IS NULL AND EXISTS (
                        SELECT FROM artifacts.session_end ended WHERE ended.end_time <= $2
                          AND ended.session_id = artifact.session_id
                          AND ended.organization_id = artifact.organization_id)
                    LIMIT $3 FOR UPDATE SKIP LOCKED""",
                kind.value,
                time,
                limit - len(rows),
            )
        return [_artifact(row) for row in rows]

    async def remove(self, artifact: Artifact) -> None:
        tag = await self._connection.execute(
            "DELETE FROM artifacts.artifact WHERE id = $1 AND revision = $2", artifact.id, artifact.revision
        )
        _expect_one(tag)

    async def renew(self, artifact: Artifact, *, lease_expire_time: datetime) -> bool:
        tag = await self._connection.execute(
            "UPDATE artifacts.artifact SET lease_expire_time = $3 WHERE id = $1 AND revision = $2",
            artifact.id,
            artifact.revision,
            lease_expire_time,
        )
        return tag.endswith(" 1")


def _expect_one(tag: str) -> None:
    if not tag.endswith(" 1"):
        raise ArtifactChanged("Somebody else changed the artifact at the same time.")


def _position(after: str | None) -> tuple[datetime | None, str]:
    if after is None:
        return None, ""
    time, _, artifact_id = after.partition("/")
    try:
        return datetime.fromisoformat(time), artifact_id
    except ValueError as error:
        raise InvalidArgument("The page does not begin at an artifact.") from error


def _values(artifact: Artifact) -> list[object]:
    blob = artifact.blob
    return [
        artifact.id,
        artifact.organization_id,
        artifact.session_id,
        artifact.run_id,
        artifact.kind.value,
        artifact.state.value,
        artifact.display_name,
        artifact.content_type,
        blob.key if blob else None,
        blob.size_bytes if blob else None,
        blob.sha256 if blob else None,
        artifact.failure_message,
        artifact.create_time,
        artifact.update_time,
        artifact.end_time,
        artifact.finish_tries,
        artifact.lease_expire_time,
        artifact.revision,
        artifact.delete_time,
    ]


def _artifact(row: asyncpg.Record) -> Artifact:
    blob = None
    if row["blob_key"] is not None:
        blob = Blob(key=row["blob_key"], size_bytes=row["size_bytes"], sha256=row["sha256"])
    return Artifact(
        id=ArtifactId(row["id"]),
        organization_id=OrganizationId(row["organization_id"]),
        session_id=SessionId(row["session_id"]),
        run_id=row["run_id"],
        kind=ArtifactKind(row["kind"]),
        state=ArtifactState(row["state"]),
        display_name=row["display_name"],
        content_type=row["content_type"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        revision=row["revision"],
        blob=blob,
        failure_message=row["failure_message"],
        end_time=row["end_time"],
        finish_tries=row["finish_tries"],
        lease_expire_time=row["lease_expire_time"],
        delete_time=row["delete_time"],
        session_end_time=row["session_end_time"],
    )
