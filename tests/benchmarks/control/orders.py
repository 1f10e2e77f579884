"""What the run asks of its driver processes, and what they answer. Each order is answered with one value."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Nodes: register until there are `count`. Answered with the number of nodes."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Nodes: send heartbeats with so many in flight, beside those that come in their time. Answered with Timings."""

    at_once: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class CountNodes:
    """Nodes: say what runs. Answered with NodeCensus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCensus:
    """What all played nodes run, as pairs of session and epoch, and what became of their heartbeats so far."""

    browsers: frozenset[tuple[str, int]]
    heartbeats: int
    # Heartbeats that were not answered, and registrations that the fleet ended.
    failed: int
    fenced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Caller: create with so many in flight, up to `total`. Answered with Timings."""

    at_once: int
    within: timedelta
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePaced:
    """Caller: begin so many creates a second. Answered with Timings."""

    rate: float
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Caller: close the newest sessions that it made, until `left` are open. Answered with Timings."""

    left: int
    at_once: int


@dataclass(frozen=True, slots=True)
class CountSessions:
    """Caller: say which sessions it made and did not close. Answered with a frozenset of their IDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """Caller: get one session after the other. Answered with Timings."""

    at_once: int
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """Caller: list the newest running sessions. Answered with Timings."""

    page_size: int
    at_once: int
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Caller: watch all its sessions while it changes so many a second, each once. Answered with WatchReport."""

    rate: float
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """How long after each change, by the database's clock, the watcher had it; `missed` changes never came."""

    changes: int
    missed: int
    p50: timedelta
    p99: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEmpty:
    """Floors: call the empty method. Answered with Timings."""

    address: str
    at_once: int
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Transact:
    """Floors: insert one row a transaction through a pool. Answered with Timings."""

    dsn: str
    pool_size: int
    at_once: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class Locate:
    """Empty service: say where it listens. Answered with EmptyAddresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyAddresses:
    """`bare`: a server of grpc.aio; `kit`: a server of ours, with everything that a call passes there."""

    bare: str
    kit: str
