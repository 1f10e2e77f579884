"""A browser-node as the fleet knows it, and the report that it sends."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from session_api.domain.session import BrowserType, CloseReason, NodeId, SessionId


class NodeState(StrEnum):
    """Whether a node takes sessions."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    LOST = "LOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """What a node says of itself when it registers."""

    name: str
    address: str
    attach_url: str
    slots: int
    # Product and version by type, as each browser reported them when the node tried it.
    browsers: dict[BrowserType, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A registered node."""

    id: NodeId
    name: str
    registration_id: str
    state: NodeState
    address: str
    attach_url: str
    slots: int
    slots_used: int
    browsers: dict[BrowserType, str]
    heartbeat_time: datetime

    @property
    def slots_free(self) -> int:
        return self.slots - self.slots_used


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBrowser:
    """A browser that a node says it runs."""

    session_id: SessionId
    epoch: int
    client_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedBrowser:
    """A browser that a node says ended by itself."""

    session_id: SessionId
    epoch: int
    close_reason: CloseReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One heartbeat."""

    node_id: NodeId
    registration_id: str
    running: list[RunningBrowser]
    ended: list[EndedBrowser]
    draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A browser that a node should be running, and the time it has left."""

    session_id: SessionId
    epoch: int
    remaining: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The beginning of one life of a node's connection."""

    node_id: NodeId
    registration_id: str
