"""What sessions used: the time from RUNNING to their end, by the database's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """What one session used under one allocation; written once, with the end of the session."""

    session_id: SessionId
    epoch: int
    organization_id: OrganizationId
    labels: Mapping[str, str] = field(default_factory=dict)
    start_time: datetime
    end_time: datetime

    @classmethod
    def of(cls, session: Session) -> Self | None:
        """Return the record of a session that has ended; None when its browser never was up."""
        if session.start_time is None or session.end_time is None:
            return None
        return cls(
            session_id=session.id,
            epoch=session.epoch,
            organization_id=session.organization_id,
            labels=session.labels,
            start_time=session.start_time,
            end_time=session.end_time,
        )

    @property
    def used(self) -> timedelta:
        return self.end_time - self.start_time


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotal:
    """A sum of records; `label_value` is empty for sessions without the label that was grouped by."""

    organization_id: OrganizationId
    label_value: str
    record_count: int
    used: timedelta
