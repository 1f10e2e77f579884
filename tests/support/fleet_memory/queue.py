"""The queue in memory."""

from collections import Counter

from session_api.domain.browser import Need
from session_api.domain.identifiers import OrganizationId
from session_api.domain.queue import Share, Waiting
from session_api.domain.session import Session, SessionState
from tests.support.fleet_memory.tables import Tables


class MemoryQueue:
    """See SessionQueue."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def waiting(self, *, limit: int) -> list[Waiting]:
        taken: Counter[tuple[OrganizationId, Need]] = Counter()
        found = []
        for session in sorted(self._queued(), key=lambda session: (session.organization_id, session.id)):
            need = session.spec.need
            taken[session.organization_id, need] += 1
            if taken[session.organization_id, need] <= limit:
                found.append(Waiting(session_id=session.id, organization_id=session.organization_id, need=need))
        return found

    async def shares(self, *, also: OrganizationId | None = None) -> dict[OrganizationId, Share]:
        held = Counter(
            row.session.organization_id for row in self._tables.sessions.values() if row.session.state.holds_slot
        )
        shares = {}
        wanted = {session.organization_id for session in self._queued()}
        for organization_id in sorted(wanted | ({also} if also else set())):
            organization = self._tables.organization(organization_id)
            shares[organization_id] = Share(
                held=held[organization_id], weight=organization.weight, limits=organization.limits
            )
        return shares

    async def size(self) -> int:
        return len(self._queued())

    def _queued(self) -> list[Session]:
        return [row.session for row in self._tables.sessions.values() if row.session.state is SessionState.QUEUED]
