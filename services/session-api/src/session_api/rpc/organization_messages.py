"""Organizations and API keys: protos to the service's values and back."""

from browserfleet.organization.v1 import organization_pb2
from fleetkit.rpc.times import duration, timestamp
from session_api.domain.caller import ApiKey, Scope
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits, Organization

_DEFAULT_WEIGHT = 1.0


def organization_of(organization_id: str, proto: organization_pb2.Organization) -> Organization:
    limits = proto.limits
    return Organization(
        id=OrganizationId(organization_id),
        limits=Limits(
            max_open_sessions=limits.max_open_sessions if limits.HasField("max_open_sessions") else None,
            max_creates_per_minute=limits.max_creates_per_minute if limits.HasField("max_creates_per_minute") else None,
            max_minutes_per_day=limits.max_minutes_per_day if limits.HasField("max_minutes_per_day") else None,
            max_timeout=limits.max_timeout.ToTimedelta() if limits.HasField("max_timeout") else None,
        ),
        weight=proto.weight or _DEFAULT_WEIGHT,
    )


def organization_to_proto(organization: Organization) -> organization_pb2.Organization:
    limits = organization.limits
    return organization_pb2.Organization(
        id=organization.id,
        limits=organization_pb2.Limits(
            max_open_sessions=limits.max_open_sessions,
            max_creates_per_minute=limits.max_creates_per_minute,
            max_minutes_per_day=limits.max_minutes_per_day,
            max_timeout=duration(limits.max_timeout) if limits.max_timeout is not None else None,
        ),
        weight=organization.weight,
        create_time=timestamp(organization.create_time),
    )


def scope_of(value: organization_pb2.Scope.ValueType) -> Scope:
    return Scope(organization_pb2.Scope.Name(value).removeprefix("SCOPE_"))


def key_to_proto(key: ApiKey) -> organization_pb2.ApiKey:
    return organization_pb2.ApiKey(
        id=key.id,
        organization_id=key.organization_id,
        scope=organization_pb2.Scope.Value(f"SCOPE_{key.scope}"),
        prefix=key.prefix,
        display_name=key.display_name,
        create_time=timestamp(key.create_time),
        last_use_time=timestamp(key.last_use_time),
        expire_time=timestamp(key.expire_time),
    )
