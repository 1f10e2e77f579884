"""A session as a row, and back."""

import json
from datetime import datetime, timedelta
from typing import TypedDict

import asyncpg

from session_api.adapters.postgres.browser_rows import facts_of, facts_row, spec_of, spec_row
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.leases import ControlLease, HolderKind, Occupancy
from session_api.domain.session import Allocation, IdleActivity, IdlePolicy, Session, SessionState

# What a save writes, after the ID that it goes by.
CHANGING = (
    "state",
    "timeout",
    "state_time",
    "queue_expire_time",
    "start_time",
    "expire_time",
    "end_time",
    "node_id",
    "registration_id",
    "node_address",
    "attach_url",
    "epoch",
    "close_reason",
    "close_message",
    "browser",
    "client_count",
    "viewer_count",
    "active_time",
    "occupancy",
    "control",
    "holdings",
    "controls",
    "warned",
    "sequence",
    "revision",
    "due_time",
)
# What is written once, with the row.
_FIXED = (
    "organization_id",
    "spec",
    "sealed_secrets",
    "lifetime_limit",
    "labels",
    "idle_timeout",
    "idle_activity",
    "create_time",
    "warnings",
    "request_id",
    "request_digest",
)
NAMES = ("id", *CHANGING, *_FIXED)
COLUMNS = ", ".join(NAMES)
# For many sessions at once: without what browsers reported about options, and without secrets.
LISTED_COLUMNS = ", ".join(
    {"browser": "session.browser - 'receipts' AS browser", "sealed_secrets": "'' AS sealed_secrets"}.get(
        name, f"session.{name}"
    )
    for name in NAMES
)
PLACES = ", ".join(f"${place}" for place in range(1, len(NAMES) + 1))
# Where values do not stand in VALUES, Postgres has to be told what they are.
_TYPES = {
    "timeout": "interval",
    "state_time": "timestamptz",
    "queue_expire_time": "timestamptz",
    "start_time": "timestamptz",
    "expire_time": "timestamptz",
    "end_time": "timestamptz",
    "epoch": "bigint",
    "browser": "jsonb",
    "client_count": "integer",
    "viewer_count": "integer",
    "active_time": "timestamptz",
    "occupancy": "jsonb",
    "control": "jsonb",
    "holdings": "bigint",
    "controls": "bigint",
    "warned": "interval",
    "sequence": "bigint",
    "revision": "bigint",
    "due_time": "timestamptz",
    "spec": "jsonb",
    "lifetime_limit": "interval",
    "labels": "jsonb",
    "idle_timeout": "interval",
    "create_time": "timestamptz",
    "warnings": "text[]",
}
TYPED_PLACES = ", ".join(f"${place}::{_TYPES.get(name, 'text')}" for place, name in enumerate(NAMES, start=1))
ASSIGNMENTS = ", ".join(
    (
        *(f"{name} = ${place}" for place, name in enumerate(CHANGING, start=2)),
        # They are large, and nothing changes of them but that they go at the end.
        f"sealed_secrets = CASE WHEN ${CHANGING.index('end_time') + 2}::timestamptz IS NULL THEN sealed_secrets ELSE '' END",
    )
)


class _OccupancyRow(TypedDict):
    kind: str
    holder_id: str
    generation: int
    occupy_time: str
    expire_time: str | None


class _ControlRow(TypedDict):
    holder: str
    generation: int
    take_time: str
    expire_time: str


def changing_values(session: Session, revision: int) -> tuple[object, ...]:
    """Return the values of CHANGING, in its order."""
    allocation = session.allocation
    return (
        session.state.value,
        session.timeout,
        session.state_time,
        session.queue_expire_time,
        session.start_time,
        session.expire_time,
        session.end_time,
        allocation.node_id if allocation else None,
        allocation.registration_id if allocation else None,
        allocation.node_address if allocation else None,
        allocation.attach_url if allocation else None,
        session.epoch,
        session.close_reason.value if session.close_reason else None,
        session.close_message,
        facts_row(session.browser),
        session.client_count,
        session.viewer_count,
        session.active_time,
        _occupancy_row(session.occupancy),
        _control_row(session.control),
        session.holdings,
        session.controls,
        session.warned,
        session.sequence,
        revision,
        session.due_time,
    )


def values_of(session: Session) -> tuple[object, ...]:
    """Return a new row's values in the order of NAMES."""
    return (
        session.id,
        *changing_values(session, session.revision),
        session.organization_id,
        spec_row(session.spec),
        session.sealed_secrets,
        session.lifetime_limit,
        json.dumps(dict(session.labels)),
        session.idle.timeout if session.idle else None,
        session.idle.activity.value if session.idle else None,
        session.create_time,
        list(session.warnings),
        session.request_id,
        session.request_digest,
    )


def session_of(row: asyncpg.Record) -> Session:
    """Return the session of a row with all columns of NAMES."""
    allocation = (
        Allocation(
            node_id=NodeId(row["node_id"]),
            registration_id=row["registration_id"],
            node_address=row["node_address"],
            attach_url=row["attach_url"],
        )
        if row["node_id"]
        else None
    )
    return Session(
        id=SessionId(row["id"]),
        organization_id=OrganizationId(row["organization_id"]),
        state=SessionState(row["state"]),
        spec=spec_of(row["spec"]),
        sealed_secrets=row["sealed_secrets"],
        timeout=row["timeout"],
        lifetime_limit=row["lifetime_limit"],
        labels=json.loads(row["labels"]),
        idle=_idle(row["idle_timeout"], row["idle_activity"]),
        create_time=row["create_time"],
        state_time=row["state_time"],
        queue_expire_time=row["queue_expire_time"],
        start_time=row["start_time"],
        expire_time=row["expire_time"],
        end_time=row["end_time"],
        allocation=allocation,
        epoch=row["epoch"],
        close_reason=CloseReason(row["close_reason"]) if row["close_reason"] else None,
        close_message=row["close_message"],
        browser=facts_of(row["browser"]),
        client_count=row["client_count"],
        viewer_count=row["viewer_count"],
        active_time=row["active_time"],
        occupancy=_occupancy(row["occupancy"]),
        control=_control(row["control"]),
        holdings=row["holdings"],
        controls=row["controls"],
        warned=row["warned"],
        warnings=tuple(row["warnings"]),
        request_id=row["request_id"],
        request_digest=row["request_digest"],
        sequence=row["sequence"],
        revision=row["revision"],
    )


def _idle(timeout: timedelta | None, activity: str | None) -> IdlePolicy | None:
    if timeout is None or activity is None:
        return None
    return IdlePolicy(timeout=timeout, activity=IdleActivity(activity))


def _occupancy_row(lease: Occupancy | None) -> str | None:
    if lease is None:
        return None
    return json.dumps(
        _OccupancyRow(
            kind=lease.kind.value,
            holder_id=lease.holder_id,
            generation=lease.generation,
            occupy_time=lease.occupy_time.isoformat(),
            expire_time=lease.expire_time.isoformat() if lease.expire_time else None,
        )
    )


def _occupancy(text: str | None) -> Occupancy | None:
    if text is None:
        return None
    row: _OccupancyRow = json.loads(text)
    return Occupancy(
        kind=HolderKind(row["kind"]),
        holder_id=row["holder_id"],
        generation=row["generation"],
        occupy_time=datetime.fromisoformat(row["occupy_time"]),
        expire_time=datetime.fromisoformat(row["expire_time"]) if row["expire_time"] else None,
    )


def _control_row(lease: ControlLease | None) -> str | None:
    if lease is None:
        return None
    return json.dumps(
        _ControlRow(
            holder=lease.holder,
            generation=lease.generation,
            take_time=lease.take_time.isoformat(),
            expire_time=lease.expire_time.isoformat(),
        )
    )


def _control(text: str | None) -> ControlLease | None:
    if text is None:
        return None
    row: _ControlRow = json.loads(text)
    return ControlLease(
        holder=row["holder"],
        generation=row["generation"],
        take_time=datetime.fromisoformat(row["take_time"]),
        expire_time=datetime.fromisoformat(row["expire_time"]),
    )
