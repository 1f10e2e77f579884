"""Organizations and API keys: protos to the service's values and back."""

from google.protobuf.field_mask_pb2 import FieldMask

from browserfleet.organization.v1 import organization_pb2
from fleetkit.errors import InvalidArgument
from fleetkit.rpc.times import duration, timestamp
from session_api.domain.caller import ApiKey, Scope
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits, Organization

_DEFAULT_WEIGHT = 1.0
_CHANGEABLE = frozenset({"limits", "weight"})


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


def changed_fields(mask: FieldMask) -> list[str]:
    """Return what an update changes. Raises InvalidArgument for a part of a field, which the schema lets through."""
    if set(mask.paths) <= _CHANGEABLE:
        return list(mask.paths)
    fault = f"must name {' or '.join(sorted(_CHANGEABLE))} as a whole"
    raise InvalidArgument(f"The request is not valid: update_mask: {fault}.", fields={"update_mask": fault})


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
