"""A browser-node as the fleet knows it, and the report that it sends."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from session_api.domain.browser import BrowserType
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.session import Allocation


class NodeState(StrEnum):
    """Whether a node takes sessions, and why not."""

    ACTIVE = "ACTIVE"
    CORDONED = "CORDONED"
    DRAINING = "DRAINING"
    LOST = "LOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How busy a node's machine is: shares of its processor time and memory, from 0 to 1."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """What a node says of itself when it registers."""

    name: str
    address: str
    attach_url: str
    slots: int
    # Product and version by type, as each browser reported them when the node tried it.
    browsers: dict[BrowserType, str]
    # Whose key the node showed: the name is theirs from then on.
    owner_id: OrganizationId
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A registered node. An operator's verb returns the next value."""

    id: NodeId
    name: str
    registration_id: str
    address: str
    attach_url: str
    slots: int
    slots_used: int
    browsers: dict[BrowserType, str]
    register_time: datetime
    heartbeat_time: datetime
    # Everything that the node reported until then is stored. The last heartbeat itself may still be on its way.
    report_time: datetime
    is_lost: bool = False
    # Set by an operator, and kept over registrations.
    is_cordoned: bool = False
    # When a drain closes what is left; None: no drain.
    drain_time: datetime | None = None
    # Said by the node itself.
    is_stopping: bool = False
    pressure: Pressure | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    # Browsers that stood ready at the last heartbeat, less the slots that were taken since: a hint.
    warm_browsers: int = 0

    @property
    def state(self) -> NodeState:
        if self.is_lost:
            return NodeState.LOST
        if self.is_stopping or self.drain_time is not None:
            return NodeState.DRAINING
        return NodeState.CORDONED if self.is_cordoned else NodeState.ACTIVE

    @property
    def has_room(self) -> bool:
        """Whether the node would take one more session now."""
        return self.state is NodeState.ACTIVE and self.slots_free > 0

    @property
    def slots_free(self) -> int:
        return self.slots - self.slots_used

    def has_lost(self, allocation: Allocation) -> bool:
        """Whether a session that was allocated to this node has lost its browser with a life of the node."""
        return self.is_lost or self.registration_id != allocation.registration_id

    def is_drained(self, *, now: datetime) -> bool:
        """Whether a drain closes what is left."""
        return self.drain_time is not None and self.drain_time <= now

    def cordoned(self) -> Self:
        """Return the node as it takes no new sessions until it is uncordoned."""
        return replace(self, is_cordoned=True)

    def uncordoned(self) -> Self:
        """Return the node as it takes sessions again; a drain ends."""
        return replace(self, is_cordoned=False, drain_time=None)

    def draining(self, *, by: datetime) -> Self:
        """Return the node as it takes no new sessions and is to be empty by an instant."""
        return replace(self, is_cordoned=True, drain_time=by)

    def with_slot_taken(self) -> Self:
        """Return the node with one slot less, and with one browser less that stands ready."""
        return replace(self, slots_used=self.slots_used + 1, warm_browsers=max(self.warm_browsers - 1, 0))

    @property
    def allocation(self) -> Allocation:
        """What a session on this node remembers of it."""
        return Allocation(
            node_id=self.id,
            registration_id=self.registration_id,
            node_address=self.address,
            attach_url=self.attach_url,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBrowser:
    """A browser that a node says it runs. `input_idle` None: the node does not know."""

    session_id: SessionId
    epoch: int
    client_count: int = 0
    viewer_count: int = 0
    input_idle: timedelta | None = None


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
    pressure: Pressure | None = None
    # Browsers of the full tier that stand ready.
    warm_browsers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A browser that a node should be running, and the time it has left.

    `control_generation` is that of the control lease that a person holds, 0 when nobody does.
    """

    session_id: SessionId
    epoch: int
    remaining: timedelta
    control_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The beginning of one life of a node's connection."""

    node_id: NodeId
    registration_id: str
