"""Nodes hear at once who has control: input of other clients is refused meanwhile."""

import logging

from fleetkit.errors import FleetError
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import NodeGateway

log = logging.getLogger(__name__)


def is_news_of_control(before: Session, after: Session) -> bool:
    """Whether control of a running session has changed hands."""
    held, holds = (session.control.generation if session.control else 0 for session in (before, after))
    return after.state is SessionState.RUNNING and held != holds


async def tell_node_of_control(nodes: NodeGateway, session: Session) -> None:
    """Tell the node who has control of a running session. When it does not answer, its next heartbeat tells it."""
    try:
        await nodes.set_control(session, generation=session.controls, held=session.control is not None)
    except FleetError as error:
        log.warning("the node was not told who has control: %s", error)
