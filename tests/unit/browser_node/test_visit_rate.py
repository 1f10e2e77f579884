import pytest

from browser_node.adapters.doors.visit_rate import VisitRate
from browser_node.domain.browser import SessionId
from browser_node.domain.errors import ClientLimit

A, B = SessionId("a"), SessionId("b")


def test_two_hundred_visits_at_once_then_fifty_a_second() -> None:
    seconds = [0.0]
    rate = VisitRate(monotonic=lambda: seconds[0])
    for _ in range(200):
        rate.count(A)
    with pytest.raises(ClientLimit):
        rate.count(A)
    rate.count(B)

    seconds[0] = 1.0

    for _ in range(50):
        rate.count(A)
    with pytest.raises(ClientLimit):
        rate.count(A)


def test_sessions_without_a_past_are_forgotten() -> None:
    seconds = [0.0]
    rate = VisitRate(monotonic=lambda: seconds[0])
    for number in range(1000):
        rate.count(SessionId(str(number)))
    for _ in range(100):
        rate.count(A)
    seconds[0] = 1.0

    rate.count(B)

    assert len(rate._left) == 2
