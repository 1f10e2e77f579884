"""An artifact and its life: PENDING until its bytes are in the store, then STORED; FAILED when they are lost."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NewType, Self

from artifact_store.domain.names import clean_display_name, with_suffix

ArtifactId = NewType("ArtifactId", str)
SessionId = NewType("SessionId", str)
OrganizationId = NewType("OrganizationId", str)

DEFAULT_CONTENT_TYPE = "application/octet-stream"
# What nodes send: frames as the browser gave them, in a container that bears being cut off.
RAW_RECORDING = "video/x-matroska"
FINISHED_RECORDING = "video/webm"


class ArtifactKind(Enum):
    DOWNLOAD = "DOWNLOAD"
    RECORDING = "RECORDING"


class ArtifactState(Enum):
    # Bytes are awaited or on their way.
    PENDING = "PENDING"
    # A raw recording is in the store and waits to be made into a video. Callers see PENDING.
    UPLOADED = "UPLOADED"
    STORED = "STORED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes in the object store: where, how many, and their lower-case hexadecimal SHA-256."""

    key: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArtifact:
    """What an upload says about itself before its bytes. The name and the type are a stranger's words."""

    id: ArtifactId
    organization_id: OrganizationId
    session_id: SessionId
    run_id: str
    kind: ArtifactKind
    display_name: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A value; each transition returns the next one, with the next `revision`.

    The revision fences writers: bytes go to a key that only the holder of one revision writes, and a save succeeds
    only on top of the revision that was read.
    """

    id: ArtifactId
    organization_id: OrganizationId
    session_id: SessionId
    run_id: str
    kind: ArtifactKind
    state: ArtifactState
    display_name: str
    content_type: str
    create_time: datetime
    update_time: datetime
    revision: int
    blob: Blob | None = None
    failure_message: str = ""
    end_time: datetime | None = None
    finish_tries: int = 0
    lease_expire_time: datetime | None = None
    # Its bytes are being deleted, or are deleted already: the artifact is not there for anybody else.
    delete_time: datetime | None = None
    # What the session's events have told, when it was read from the database.
    session_end_time: datetime | None = None
    # By the retention in force, for callers.
    expire_time: datetime | None = None

    @classmethod
    def pending(cls, new: NewArtifact, *, now: datetime) -> Self:
        return cls(
            id=new.id,
            organization_id=new.organization_id,
            session_id=new.session_id,
            run_id=new.run_id,
            kind=new.kind,
            state=ArtifactState.PENDING,
            display_name=clean_display_name(new.display_name),
            content_type=new.content_type or DEFAULT_CONTENT_TYPE,
            create_time=now,
            update_time=now,
            revision=1,
        )

    @property
    def key_prefix(self) -> str:
        """What the keys of all of this artifact's objects begin with, whoever wrote them."""
        return f"{self.organization_id}/{self.session_id}/{self.id}/"

    @property
    def write_key(self) -> str:
        """Key for the bytes that the holder of this revision writes; the name of the file has no part in it."""
        return f"{self.key_prefix}{self.revision}"

    def outdated(self, keys: list[str]) -> list[str]:
        """Return those of this artifact's keys that holders of earlier revisions wrote."""
        revisions = {key: key.removeprefix(self.key_prefix) for key in keys}
        return [key for key, revision in revisions.items() if revision.isdigit() and int(revision) < self.revision]

    @property
    def awaits_bytes(self) -> bool:
        return self.state is ArtifactState.PENDING

    @property
    def ended(self) -> bool:
        return self.state in {ArtifactState.STORED, ArtifactState.FAILED}

    @property
    def is_raw_recording(self) -> bool:
        return self.kind is ArtifactKind.RECORDING and self.content_type == RAW_RECORDING

    def is_upload_of(self, new: NewArtifact) -> bool:
        """Whether `new` is another try of the upload that made this artifact."""
        return (self.organization_id, self.session_id) == (new.organization_id, new.session_id)

    def restarted(self, *, now: datetime) -> Self:
        """The same upload begins again; an older try that still goes on loses its claim."""
        return replace(self, revision=self.revision + 1, update_time=now)

    def received(self, blob: Blob, *, now: datetime) -> Self:
        """All bytes have come: a raw recording waits to be finished, everything else is STORED."""
        if self.is_raw_recording:
            return replace(self, state=ArtifactState.UPLOADED, blob=blob, update_time=now, revision=self.revision + 1)
        return self._stored(blob, now=now)

    def claimed(self, *, now: datetime, lease_ttl: timedelta) -> Self:
        """Somebody begins to finish it and has it alone until the lease ends."""
        return replace(
            self,
            finish_tries=self.finish_tries + 1,
            lease_expire_time=now + lease_ttl,
            update_time=now,
            revision=self.revision + 1,
        )

    def released(self, *, now: datetime, retry_after: timedelta, counts: bool) -> Self:
        """Finishing did not work this time; a try that `counts` brings the end of trying nearer."""
        return replace(
            self,
            finish_tries=self.finish_tries - (not counts),
            lease_expire_time=now + retry_after,
            update_time=now,
            revision=self.revision + 1,
        )

    def finished(self, video: Blob, *, now: datetime) -> Self:
        """The video is made and in the store."""
        return replace(
            self._stored(video, now=now),
            content_type=FINISHED_RECORDING,
            display_name=with_suffix(self.display_name, ".webm"),
        )

    def deleting(self, *, now: datetime, lease_ttl: timedelta) -> Self:
        """Somebody begins, or goes on, to delete it, and has that alone until the lease ends."""
        return replace(
            self,
            delete_time=self.delete_time or now,
            lease_expire_time=now + lease_ttl,
            update_time=now,
            revision=self.revision + 1,
        )

    def failed(self, message: str, *, now: datetime) -> Self:
        return replace(
            self,
            state=ArtifactState.FAILED,
            blob=None,
            failure_message=message,
            lease_expire_time=None,
            update_time=now,
            end_time=now,
            revision=self.revision + 1,
        )

    def _stored(self, blob: Blob, *, now: datetime) -> Self:
        return replace(
            self,
            state=ArtifactState.STORED,
            blob=blob,
            lease_expire_time=None,
            update_time=now,
            end_time=now,
            revision=self.revision + 1,
        )
