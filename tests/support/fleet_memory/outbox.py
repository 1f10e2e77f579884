"""The outbox in memory."""

from datetime import datetime

from session_api.domain.identifiers import SessionId
from session_api.domain.node import Node
from session_api.domain.session import Session
from tests.support.fleet_memory.tables import News, Tables


class MemoryOutbox:
    """See Outbox."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.unsent

    async def announce(self, session: Session, *, what: str, now: datetime) -> None:
        subject = f"fleet.v1.session.{session.id}.{what}"
        self._rows.append(News(action="PUBLISH", subject=subject, session=session))

    async def announce_node(self, node: Node, *, what: str, now: datetime) -> None:
        self._rows.append(News(action="PUBLISH", subject=f"fleet.v1.node.{node.id}.{what}", node=node))

    async def schedule(self, session: Session) -> None:
        due_time = session.countdown_time
        if due_time is None:
            raise ValueError("a session that is not running counts nothing down")
        subject = f"schedule.session.{session.id}"
        self._rows.append(News(action="PUBLISH", subject=subject, session=session, due_time=due_time))

    async def cancel_schedule(self, session_id: SessionId) -> None:
        self._rows.append(News(action="PURGE", subject=f"schedule.session.{session_id}"))
