"""Enums and instants of messages as the service's values."""

from datetime import UTC, datetime

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.browser.v1 import browser_pb2
from fleetkit.errors import InvalidArgument
from session_api.domain.browser import BrowserTier, BrowserType


def known(enum: EnumDescriptor, number: int, prefix: str) -> str:
    """Return a value's name without its prefix; empty for zero and for what this version does not know."""
    value = enum.values_by_number.get(number) if number else None
    return value.name.removeprefix(prefix) if value else ""


def browser_type(value: browser_pb2.BrowserType.ValueType) -> BrowserType:
    """Return the kind of browser; raises InvalidArgument for one that this version does not know."""
    if value == browser_pb2.BROWSER_TYPE_UNSPECIFIED:
        return BrowserType.CHROME
    if value not in browser_pb2.BrowserType.values():
        fault = "must be a browser type that this version knows"
        raise InvalidArgument(f"The request is not valid: browser_type: {fault}.", fields={"spec.browser_type": fault})
    return BrowserType(browser_pb2.BrowserType.Name(value).removeprefix("BROWSER_TYPE_"))


def browser_tier(value: browser_pb2.BrowserTier.ValueType) -> BrowserTier:
    """Return the tier, the full one where none is given; raises InvalidArgument for one that is not known."""
    if value == browser_pb2.BROWSER_TIER_UNSPECIFIED:
        return BrowserTier.FULL
    if value not in browser_pb2.BrowserTier.values():
        fault = "must be a tier that this version knows"
        raise InvalidArgument(f"The request is not valid: tier: {fault}.", fields={"spec.tier": fault})
    return BrowserTier(browser_pb2.BrowserTier.Name(value).removeprefix("BROWSER_TIER_"))


def instant(message: Message, field: str) -> datetime | None:
    """Return an instant of a filter; None where it is not set. Raises InvalidArgument for one that no calendar has."""
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        fault = "must be an instant of the years 1 to 9999"
        raise InvalidArgument(f"The request is not valid: {fault}.", fields={f"filter.{field}": fault}) from error
