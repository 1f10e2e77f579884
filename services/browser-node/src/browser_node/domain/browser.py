"""What a node hosts: browsers of sessions, each for one allocation (epoch)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NewType

from browser_node.domain.options import BrowserOptions, Receipt

SessionId = NewType("SessionId", str)
RunId = NewType("RunId", str)


class BrowserKind(StrEnum):
    """Kinds of browser that a node can host."""

    CHROME = "chrome"
    MSEDGE = "msedge"


class CloseReason(StrEnum):
    """Why a browser ended; the names are those of the contract."""

    USER_REQUESTED = "USER_REQUESTED"
    TIMED_OUT = "TIMED_OUT"
    IDLE = "IDLE"
    QUEUE_TIMED_OUT = "QUEUE_TIMED_OUT"
    START_FAILED = "START_FAILED"
    BROWSER_CRASHED = "BROWSER_CRASHED"
    NODE_LOST = "NODE_LOST"
    NODE_DRAINED = "NODE_DRAINED"
    CLIENT_GONE = "CLIENT_GONE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """What session-api asks a node to start.

    `artifact_token` lets the node store what this session leaves. `trace_headers` are those of the call, so that
    later work for the session joins its trace.
    """

    session_id: SessionId
    epoch: int
    organization_id: str
    kind: BrowserKind
    remaining: timedelta
    artifact_token: str = field(repr=False)
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    options: BrowserOptions = field(default_factory=BrowserOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What the node verified about a browser that is up. `start_message` says why it was warm or cold."""

    product: str
    user_agent: str
    sandboxed: bool
    warm: bool = False
    start_message: str = ""
    receipts: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class InstalledBrowser:
    """A browser that the node found and started once."""

    kind: BrowserKind
    product: str


@dataclass(frozen=True, slots=True)
class RunningBrowser:
    """A browser as the node reports it; starting ones included, and for them `input_idle` is not known."""

    session_id: SessionId
    epoch: int
    client_count: int = 0
    viewer_count: int = 0
    input_idle: timedelta | None = None


@dataclass(frozen=True, slots=True)
class BrowserEnd:
    """How a browser ended: the reason, and one sentence for people."""

    reason: CloseReason
    message: str = ""


@dataclass(frozen=True, slots=True)
class EndedBrowser:
    """A browser that ended without session-api asking for it."""

    session_id: SessionId
    epoch: int
    end: BrowserEnd


@dataclass(frozen=True, slots=True)
class Assignment:
    """A browser that session-api wants to run here, with the time left until its deadline.

    `control_generation` is that of the control lease that a person holds, 0 when nobody does.
    """

    session_id: SessionId
    epoch: int
    remaining: timedelta
    control_generation: int = 0
