"""A browser session: its states, and what may become of it."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Self

from session_api.domain.errors import SessionNotOpen, TimeoutLimit

SessionId = NewType("SessionId", str)
NodeId = NewType("NodeId", str)
OrganizationId = NewType("OrganizationId", str)

DEFAULT_TIMEOUT = timedelta(minutes=60)
MAX_TIMEOUT = timedelta(minutes=1440)


class SessionState(StrEnum):
    """Where a session is in its life. CLOSED and FAILED have no way out."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        return self in {SessionState.CLOSED, SessionState.FAILED}


class CloseReason(StrEnum):
    """Why a session ended."""

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

    @property
    def is_fault(self) -> bool:
        return self not in {
            CloseReason.USER_REQUESTED,
            CloseReason.TIMED_OUT,
            CloseReason.IDLE,
            CloseReason.NODE_DRAINED,
        }


_SENTENCES = {
    CloseReason.USER_REQUESTED: "The session was closed on request.",
    CloseReason.TIMED_OUT: "The session's timeout ran out.",
    CloseReason.IDLE: "Nothing happened in the session for longer than its idle timeout.",
    CloseReason.QUEUE_TIMED_OUT: "No slot came free in time.",
    CloseReason.START_FAILED: "The browser did not start.",
    CloseReason.BROWSER_CRASHED: "The browser ended by itself.",
    CloseReason.NODE_LOST: "The node that held the browser is gone or was cut off.",
    CloseReason.NODE_DRAINED: "The node that held the browser was drained.",
    CloseReason.CLIENT_GONE: "The caller was gone before the session was up.",
    CloseReason.OUT_OF_MEMORY: "The browser used more memory than a session may.",
    CloseReason.DISK_FULL: "The browser used more disk than a session may.",
}


class BrowserType(StrEnum):
    """A kind of browser."""

    CHROME = "CHROME"
    MSEDGE = "MSEDGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSpec:
    """What a session asks of its browser."""

    browser_type: BrowserType = BrowserType.CHROME


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What a node verified about a browser that it started."""

    product: str
    user_agent: str
    warm: bool
    sandboxed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Where a session lives: a node, in one registration of it, at the addresses it had then."""

    node_id: NodeId
    registration_id: str
    node_address: str
    attach_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as the database knows it. A transition returns the next value, or raises."""

    id: SessionId
    organization_id: OrganizationId
    state: SessionState
    spec: BrowserSpec
    timeout: timedelta
    lifetime_limit: timedelta = MAX_TIMEOUT
    create_time: datetime
    allocation: Allocation | None = None
    epoch: int = 0
    start_time: datetime | None = None
    expire_time: datetime | None = None
    end_time: datetime | None = None
    # When `state` was entered: stuck transitions are found by it.
    state_time: datetime
    close_reason: CloseReason | None = None
    close_message: str = ""
    browser: BrowserFacts | None = None
    client_count: int = 0
    warnings: tuple[str, ...] = ()
    request_id: str = ""
    request_digest: str = ""
    # Number of the last event of this session.
    sequence: int = 0
    # Guards a save against changes since the session was read.
    revision: int = field(default=0)

    @property
    def is_open(self) -> bool:
        """Started and not ended."""
        return self.state in {SessionState.RUNNING, SessionState.CLOSING}

    @property
    def holder(self) -> tuple[NodeId, int] | None:
        """The node that the session is allocated to, and the epoch."""
        return (self.allocation.node_id, self.epoch) if self.allocation else None

    def allocated(self, allocation: Allocation) -> Self:
        """Return the session on a node, under the next epoch."""
        return replace(self, allocation=allocation, epoch=self.epoch + 1)

    def unallocated(self) -> Self:
        """Return the session without a node, to be allocated anew."""
        return replace(self, allocation=None)

    def started(self, *, now: datetime, browser: BrowserFacts) -> Self:
        """Return the session with its browser up and its countdown begun. Raises SessionNotOpen unless STARTING."""
        if self.state is not SessionState.STARTING:
            raise self._not_open()
        return replace(
            self._moved(SessionState.RUNNING, now), browser=browser, start_time=now, expire_time=now + self.timeout
        )

    def extended(self, *, by: timedelta) -> Self:
        """Return the session with a later deadline.

        Raises SessionNotOpen unless RUNNING, TimeoutLimit when the whole lifetime would pass its limit.
        """
        if self.state is not SessionState.RUNNING or self.start_time is None or self.expire_time is None:
            raise self._not_open()
        timeout = self.timeout + by
        if timeout > self.lifetime_limit:
            limit = self.lifetime_limit.total_seconds()
            raise TimeoutLimit(f"The session may live {limit / 60:g} minutes in all.", limit_seconds=str(int(limit)))
        return self._next(timeout=timeout, expire_time=self.start_time + timeout)

    def closing(self, *, now: datetime, reason: CloseReason) -> Self:
        """Return the session on its way out. One that is closing or has ended is returned as it is."""
        if self.state is SessionState.CLOSING or self.state.is_final:
            return self
        return replace(self._moved(SessionState.CLOSING, now), close_reason=reason, close_message=_SENTENCES[reason])

    def ended(self, *, now: datetime, reason: CloseReason, message: str = "") -> Self:
        """Return the session in its final state. The first reason stays; one that has ended is returned as it is."""
        if self.state.is_final:
            return self
        final = self.close_reason or reason
        text = self.close_message or message or _SENTENCES[final]
        state = SessionState.FAILED if final.is_fault else SessionState.CLOSED
        return replace(self._moved(state, now), close_reason=final, close_message=text, end_time=now, client_count=0)

    def is_overdue(self, *, now: datetime) -> bool:
        """Whether the deadline of a running session has come."""
        return self.state is SessionState.RUNNING and self.expire_time is not None and now >= self.expire_time

    def require_running(self) -> Allocation:
        """Return where the browser is. Raises SessionNotOpen unless RUNNING."""
        if self.state is not SessionState.RUNNING or self.allocation is None:
            raise self._not_open()
        return self.allocation

    def _moved(self, state: SessionState, now: datetime) -> Self:
        return self._next(state=state, state_time=now)

    def _next(self, **changes: object) -> Self:
        return replace(self, sequence=self.sequence + 1, **changes)  # type: ignore[arg-type]  # names are fields

    def _not_open(self) -> SessionNotOpen:
        reason = self.close_reason or ""
        ended = f" ({self.close_message})" if self.close_message else ""
        return SessionNotOpen(
            f"The session is {self.state}, not RUNNING{ended}.", state=str(self.state), close_reason=str(reason)
        )
