"""Python's instants and spans as protobuf's well-known types."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: datetime | None) -> Timestamp | None:
    """Return an aware instant as a Timestamp; None stays None."""
    if instant is None:
        return None
    proto = Timestamp()
    proto.FromDatetime(instant)
    return proto


def duration(span: timedelta) -> Duration:
    """Return a span as a Duration."""
    proto = Duration()
    proto.FromTimedelta(span)
    return proto
