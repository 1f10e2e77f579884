"""What can be asked for: which sessions, which usage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from session_api.domain.browser import BrowserType
from session_api.domain.identifiers import NodeId, OrganizationId
from session_api.domain.session import Session, SessionState


class SessionOrder(StrEnum):
    """The orders in which sessions are listed, by the API's name. IDs sort by the time of their making."""

    NEWEST = "create_time desc"
    OLDEST = "create_time"
    EXPIRING_FIRST = "expire_time"
    EXPIRING_LAST = "expire_time desc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """Which sessions, in which order; None and empty do not narrow. By deadline only sessions that have one."""

    organization_id: OrganizationId | None = None
    states: tuple[SessionState, ...] = ()
    browser_types: tuple[BrowserType, ...] = ()
    node_id: NodeId | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    create_before: datetime | None = None
    create_after: datetime | None = None
    expire_before: datetime | None = None
    # Something fell due before this instant, and before the database's present one.
    due_before: datetime | None = None
    order: SessionOrder = SessionOrder.NEWEST

    def matches(self, session: Session) -> bool:
        """Whether a session is one of those; `due_before` and the order do not count."""
        node_id = session.allocation.node_id if session.allocation else None
        return (
            self.organization_id in {None, session.organization_id}
            and (not self.states or session.state in self.states)
            and (not self.browser_types or session.spec.browser_type in self.browser_types)
            and self.node_id in {None, node_id}
            and self.labels.items() <= session.labels.items()
            and (self.create_before is None or session.create_time < self.create_before)
            and (self.create_after is None or session.create_time >= self.create_after)
            and (
                self.expire_before is None
                or (session.expire_time is not None and session.expire_time < self.expire_before)
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which usage records; None and empty do not narrow."""

    organization_id: OrganizationId | None = None
    end_after: datetime | None = None
    end_before: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
