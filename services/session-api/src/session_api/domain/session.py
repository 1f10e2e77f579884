"""A browser session: its states, and what may become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from session_api.domain.browser import BrowserFacts, BrowserSpec
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import ControlTaken, SessionNotOpen, SessionOccupied, TimeoutLimit
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.leases import ControlLease, HolderKind, Occupancy

DEFAULT_TIMEOUT = timedelta(minutes=60)
MAX_TIMEOUT = timedelta(minutes=1440)
# Times before the deadline at which a session says that it will expire, first to last.
WARNINGS = (timedelta(minutes=5), timedelta(minutes=1))
# Longer than anybody tries to start or stop a browser: whatever takes longer was left half-way.
START_TIMEOUT = timedelta(seconds=60)
STOP_TIMEOUT = timedelta(seconds=30)


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

    @property
    def holds_slot(self) -> bool:
        return self in {SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING}


class IdleActivity(StrEnum):
    """What keeps a session awake. CONNECTION: a client, a viewer, a holder, a person in control. INPUT: only what is
    done to the browser.
    """

    CONNECTION = "CONNECTION"
    INPUT = "INPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """After how long without which activity a session closes."""

    timeout: timedelta
    activity: IdleActivity = IdleActivity.CONNECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Where a session lives: a node, in one registration of it, at the addresses it had then."""

    node_id: NodeId
    registration_id: str
    node_address: str
    attach_url: str


class Due(StrEnum):
    """What can fall due for a session."""

    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    START_LEFT = "START_LEFT"
    STOP_LEFT = "STOP_LEFT"
    DEADLINE = "DEADLINE"
    IDLE = "IDLE"
    WARNING = "WARNING"
    OCCUPANCY_END = "OCCUPANCY_END"
    CONTROL_END = "CONTROL_END"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as the database knows it. A transition returns the next value, or raises.

    A new value is QUEUED and was announced to nobody: it becomes `queued` or `placed` before it is stored.
    """

    id: SessionId
    organization_id: OrganizationId
    state: SessionState = SessionState.QUEUED
    spec: BrowserSpec
    # What of the request only the node may read; empty where there is nothing, and after the end.
    sealed_secrets: str = field(default="", repr=False)
    timeout: timedelta
    lifetime_limit: timedelta = MAX_TIMEOUT
    labels: Mapping[str, str] = field(default_factory=dict)
    idle: IdlePolicy | None = None
    create_time: datetime
    # When `state` was entered.
    state_time: datetime
    queue_expire_time: datetime | None = None
    allocation: Allocation | None = None
    epoch: int = 0
    start_time: datetime | None = None
    expire_time: datetime | None = None
    end_time: datetime | None = None
    close_reason: CloseReason | None = None
    close_message: str = ""
    browser: BrowserFacts | None = None
    client_count: int = 0
    viewer_count: int = 0
    # Last activity that the node reported; kept only for sessions with an idle timeout.
    active_time: datetime | None = None
    occupancy: Occupancy | None = None
    control: ControlLease | None = None
    # Holdings and takings of control so far: the generation of the last one.
    holdings: int = 0
    controls: int = 0
    # The warning that was announced last, as its time before the deadline.
    warned: timedelta | None = None
    warnings: tuple[str, ...] = ()
    request_id: str = ""
    request_digest: str = ""
    # Number of the last event of this session.
    sequence: int = 0
    # Guards a save against changes since the session was read.
    revision: int = 0

    @property
    def is_open(self) -> bool:
        """Started and not ended."""
        return self.state in {SessionState.RUNNING, SessionState.CLOSING}

    @property
    def holder(self) -> tuple[NodeId, int] | None:
        """The node that the session is allocated to, and the epoch."""
        return (self.allocation.node_id, self.epoch) if self.allocation else None

    # ---- the way up

    def queued(self, *, until: datetime) -> Self:
        """Return a new session with a place in the queue."""
        return self._next(queue_expire_time=until)

    def placed(self, allocation: Allocation, *, now: datetime) -> Self:
        """Return the session STARTING on a node, under the next epoch. Raises SessionNotOpen unless QUEUED."""
        if self.state is not SessionState.QUEUED:
            raise self._not_open()
        return self._moved(SessionState.STARTING, now).allocated(allocation, now=now)

    def allocated(self, allocation: Allocation, *, now: datetime) -> Self:
        """Return a starting session on a node, under the next epoch."""
        return replace(self, allocation=allocation, epoch=self.epoch + 1, state_time=now)

    def unallocated(self) -> Self:
        """Return a starting session without a node, to be allocated anew."""
        return replace(self, allocation=None)

    def started(self, *, now: datetime, browser: BrowserFacts) -> Self:
        """Return the session with its browser up and its countdown begun. Raises SessionNotOpen unless STARTING."""
        if self.state is not SessionState.STARTING:
            raise self._not_open()
        return replace(
            self._moved(SessionState.RUNNING, now),
            browser=browser,
            start_time=now,
            expire_time=now + self.timeout,
            active_time=now if self.idle else None,
        )

    # ---- time

    def extended(self, *, by: timedelta, now: datetime) -> Self:
        """Return the session with a later deadline.

        Raises SessionNotOpen unless RUNNING before its deadline, TimeoutLimit when the whole lifetime would pass its
        limit.
        """
        self.require_running()
        if self.start_time is None or self.is_overdue(now=now):
            # Whoever closes it is on the way.
            raise SessionNotOpen(CloseReason.TIMED_OUT.sentence, state=str(self.state), close_reason="")
        timeout = self.timeout + by
        if timeout > self.lifetime_limit:
            limit = self.lifetime_limit.total_seconds()
            raise TimeoutLimit(f"The session may live {limit / 60:g} minutes in all.", limit_seconds=str(int(limit)))
        expire_time = self.start_time + timeout
        passed = [warning for warning in WARNINGS if expire_time - warning <= now]
        return self._next(timeout=timeout, expire_time=expire_time, warned=min(passed, default=None))

    @property
    def countdown_time(self) -> datetime | None:
        """When the next warning or the deadline itself is due; None unless RUNNING."""
        if self.state is not SessionState.RUNNING or self.expire_time is None:
            return None
        warning = self._next_warning()
        return self.expire_time - warning if warning else self.expire_time

    @property
    def due_time(self) -> datetime | None:
        """When something may be due next: a hint, never too late. The idle timeout moves with reports, unseen here."""
        match self.state:
            case SessionState.QUEUED:
                return self.queue_expire_time
            case SessionState.STARTING:
                return self.state_time + START_TIMEOUT
            case SessionState.CLOSING:
                return self.state_time + STOP_TIMEOUT
            case SessionState.RUNNING:
                candidates = (
                    self.countdown_time,
                    self._idle_time(),
                    self.occupancy.expire_time if self.occupancy else None,
                    self.control.expire_time if self.control else None,
                )
                return min(time for time in candidates if time is not None)
            case _:
                return None

    def due(self, *, now: datetime, report_time: datetime | None) -> Due | None:
        """Return what is due most urgently, if anything.

        `report_time` is when the node last reported: an idle time that nobody could report about does not count.
        """
        match self.state:
            case SessionState.QUEUED if self.queue_expire_time is not None and now >= self.queue_expire_time:
                return Due.QUEUE_TIMEOUT
            case SessionState.STARTING if now >= self.state_time + START_TIMEOUT:
                return Due.START_LEFT
            case SessionState.CLOSING if now >= self.state_time + STOP_TIMEOUT:
                return Due.STOP_LEFT
            case SessionState.RUNNING:
                return self._due_while_running(now, report_time)
            case _:
                return None

    def is_overdue(self, *, now: datetime) -> bool:
        """Whether the deadline of a running session has come."""
        return self.state is SessionState.RUNNING and self.expire_time is not None and now >= self.expire_time

    def expiring(self, *, now: datetime) -> Self:
        """Return the session with every warning announced that is due."""
        due = [warning for warning in WARNINGS if self.expire_time is not None and self.expire_time - warning <= now]
        return self._next(warned=min(due, default=self.warned))

    # ---- who holds it, who controls it

    def occupied(self, kind: HolderKind, holder_id: str, *, now: datetime, ttl: timedelta | None) -> Self:
        """Return the session held by a run; its holder renews the lease. Raises SessionNotOpen, SessionOccupied."""
        self.require_running()
        expire_time = now + ttl if ttl is not None else None
        held = self._live_occupancy(now)
        if held is not None and (held.kind, held.holder_id) != (kind, holder_id):
            raise SessionOccupied(
                f"The session is held by the {held.kind.lower()} {held.holder_id}.",
                holder_kind=str(held.kind),
                holder_id=held.holder_id,
                generation=str(held.generation),
            )
        if held is not None:
            return replace(self, occupancy=replace(held, expire_time=expire_time))
        generation = self.holdings + 1
        occupancy = Occupancy(
            kind=kind, holder_id=holder_id, generation=generation, occupy_time=now, expire_time=expire_time
        )
        return self._next(occupancy=occupancy, holdings=generation)

    def released(self, generation: int, *, now: datetime) -> Self:
        """Return the session without that holding; one that has ended already changes nothing."""
        if self.occupancy is None or self.occupancy.generation != generation or self.state.is_final:
            return self
        return self._next(occupancy=None, active_time=self._active_now(now))

    def controlled(self, holder: str, *, now: datetime, ttl: timedelta, take_over: bool = False) -> Self:
        """Return the session in the hands of a person; who has control already prolongs it.

        Raises SessionNotOpen; ControlTaken when another person has control and it is not to be taken over.
        """
        self.require_running()
        control = self.control if self.control is not None and now < self.control.expire_time else None
        if control is not None and control.holder == holder:
            return replace(self, control=replace(control, expire_time=now + ttl))
        if control is not None and not take_over:
            raise ControlTaken(
                f"{control.holder} has control of the session.",
                holder=control.holder,
                generation=str(control.generation),
            )
        generation = self.controls + 1
        lease = ControlLease(holder=holder, generation=generation, take_time=now, expire_time=now + ttl)
        return self._next(control=lease, controls=generation)

    def uncontrolled(self, generation: int, *, now: datetime) -> Self:
        """Return the session with control handed back; control that has gone already changes nothing."""
        if self.control is None or self.control.generation != generation or self.state.is_final:
            return self
        return self._next(control=None, active_time=self._active_now(now))

    # ---- the way out

    def closing(self, *, now: datetime, reason: CloseReason) -> Self:
        """Return the session on its way out. One that is closing or has ended is returned as it is."""
        if self.state is SessionState.CLOSING or self.state.is_final:
            return self
        return replace(self._moved(SessionState.CLOSING, now), close_reason=reason, close_message=reason.sentence)

    def ended(self, *, now: datetime, reason: CloseReason, message: str = "") -> Self:
        """Return the session in its final state. The first reason stays; one that has ended is returned as it is."""
        if self.state.is_final:
            return self
        final = self.close_reason or reason
        return replace(
            self._moved(SessionState.FAILED if final.is_fault else SessionState.CLOSED, now),
            close_reason=final,
            close_message=self.close_message or message or final.sentence,
            end_time=now,
            client_count=0,
            viewer_count=0,
            occupancy=None,
            control=None,
            sealed_secrets="",
        )

    def require_running(self) -> Allocation:
        """Return where the browser is. Raises SessionNotOpen unless RUNNING."""
        if self.state is not SessionState.RUNNING or self.allocation is None:
            raise self._not_open()
        return self.allocation

    # ---- how

    def _due_while_running(self, now: datetime, report_time: datetime | None) -> Due | None:
        if self.is_overdue(now=now):
            return Due.DEADLINE
        idle_time = self._idle_time()
        if idle_time is not None and report_time is not None and report_time >= idle_time:
            return Due.IDLE
        if self.occupancy is not None and self._live_occupancy(now) is None:
            return Due.OCCUPANCY_END
        if self.control is not None and now >= self.control.expire_time:
            return Due.CONTROL_END
        countdown = self.countdown_time
        return Due.WARNING if countdown is not None and now >= countdown else None

    def _next_warning(self) -> timedelta | None:
        """Return the next warning; none is given for more time than the session had in all."""
        open_ones = (w for w in WARNINGS if w < self.timeout and (self.warned is None or w < self.warned))
        return max(open_ones, default=None)

    def _idle_time(self) -> datetime | None:
        """Return when the idle timeout runs out if nothing happens; None while a lease keeps the session awake."""
        if self.idle is None or self.active_time is None:
            return None
        is_held = self.occupancy is not None or self.control is not None
        if is_held and self.idle.activity is IdleActivity.CONNECTION:
            return None
        return self.active_time + self.idle.timeout

    def _live_occupancy(self, now: datetime) -> Occupancy | None:
        held = self.occupancy
        return held if held is not None and (held.expire_time is None or now < held.expire_time) else None

    def _active_now(self, now: datetime) -> datetime | None:
        awake = self.idle is not None and self.idle.activity is IdleActivity.CONNECTION
        return now if awake else self.active_time

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
