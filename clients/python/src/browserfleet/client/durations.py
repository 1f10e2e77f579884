"""Spans of time as callers write them."""

import re
from datetime import timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

# A timedelta, a string with units such as "30m" or "1h30m", or a whole number of minutes.
Span: TypeAlias = timedelta | str | int

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def to_timedelta(span: Span) -> timedelta:
    """Return the span; a bare number is minutes.

    Raises ValueError for text that is not numbers with units (`ms`, `s`, `m`, `h`, `d`), and TypeError for other types.
    """
    if isinstance(span, timedelta):
        return span
    if isinstance(span, bool) or not isinstance(span, str | int):
        raise TypeError(f"a span is a timedelta, a string such as '30m' or whole minutes, not {type(span).__name__}")
    if isinstance(span, int):
        return timedelta(minutes=span)
    text = span.replace(" ", "").lower()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{span!r} is not a span of time: write it like '30m', '1h30m' or '90s'")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def to_duration(span: Span) -> Duration:
    """Return the span as a protobuf duration; raises as `to_timedelta` does."""
    duration = Duration()
    duration.FromTimedelta(to_timedelta(span))
    return duration
