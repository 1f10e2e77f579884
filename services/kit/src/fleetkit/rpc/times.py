"""Python's instants and spans as protobuf's well-known types.

Built field by field: the library's own conversions are written in Python and take five times as long, which counts
where a page of a thousand sessions has six instants each.
"""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400


def timestamp(instant: datetime | None) -> Timestamp | None:
    """Return an aware instant as a Timestamp; None stays None."""
    if instant is None:
        return None
    since = instant - _EPOCH
    return Timestamp(seconds=since.days * _DAY_SECONDS + since.seconds, nanos=since.microseconds * 1000)


def duration(span: timedelta) -> Duration:
    """Return a span as a Duration."""
    seconds, nanos = span.days * _DAY_SECONDS + span.seconds, span.microseconds * 1000
    if seconds < 0 and nanos > 0:
        # A timedelta's parts below a day are never negative; both fields of a Duration have its sign.
        seconds, nanos = seconds + 1, nanos - 1_000_000_000
    return Duration(seconds=seconds, nanos=nanos)
