"""The leases of a session as messages, in answers and in events."""

from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.times import timestamp
from session_api.domain.leases import ControlLease, Occupancy


def occupancy_message(lease: Occupancy) -> session_pb2.Occupancy:
    """Return who holds a session."""
    return session_pb2.Occupancy(
        holder_kind=session_pb2.HolderKind.Value(f"HOLDER_KIND_{lease.kind}"),
        holder_id=lease.holder_id,
        generation=lease.generation,
        occupy_time=timestamp(lease.occupy_time),
        expire_time=timestamp(lease.expire_time),
    )


def control_message(lease: ControlLease) -> session_pb2.ControlLease:
    """Return who has control of a session."""
    return session_pb2.ControlLease(
        holder=lease.holder,
        generation=lease.generation,
        take_time=timestamp(lease.take_time),
        expire_time=timestamp(lease.expire_time),
    )
