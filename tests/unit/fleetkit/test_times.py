"""Instants and spans on the wire."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetkit.rpc.times import duration, timestamp


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_comes_back_as_it_was(instant: datetime) -> None:
    proto = timestamp(instant)
    assert proto is not None
    assert proto.ToDatetime(tzinfo=UTC) == instant


@given(st.timedeltas(min_value=timedelta(days=-3000), max_value=timedelta(days=3000)))
def test_a_span_comes_back_as_it_was(span: timedelta) -> None:
    assert duration(span).ToTimedelta() == span


def test_no_instant_stays_none() -> None:
    assert timestamp(None) is None
