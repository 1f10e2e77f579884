"""How long artifacts are kept: counted from the end of their session, for each kind on its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from artifact_store.domain.artifact import Artifact, ArtifactKind, OrganizationId, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """That a session has ended; `sequence` is the number of the event that told of it."""

    session_id: SessionId
    organization_id: OrganizationId
    sequence: int
    end_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Kinds that are not in `ttls` are kept for ever, and so is everything of a session that has not ended."""

    ttls: Mapping[ArtifactKind, timedelta] = field(default_factory=dict)

    def expire_time(self, artifact: Artifact) -> datetime | None:
        """Return when the artifact expires; None when that is not known, or never."""
        ttl = self.ttls.get(artifact.kind)
        if ttl is None or artifact.session_end_time is None:
            return None
        return artifact.session_end_time + ttl

    def ended_before(self, now: datetime) -> dict[ArtifactKind, datetime]:
        """Return, for each kind that expires, until when a session must have ended for its artifacts to be expired."""
        return {kind: now - ttl for kind, ttl in self.ttls.items()}
