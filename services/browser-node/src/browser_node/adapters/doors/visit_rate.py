"""How often one session may be visited: a client in a loop does not keep the node busy for everybody."""

import time
from collections.abc import Callable

from browser_node.domain.browser import SessionId
from browser_node.domain.errors import ClientLimit

_PER_SECOND = 50.0
_BURST = 200.0
# Beyond so many sessions those are forgotten that have nothing to remember.
_MOST_REMEMBERED = 1000


class VisitRate:
    """Counts visits that came with a good token, session by session: 50 a second, 200 at once."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # What is left of the burst, and when that was so, in monotonic seconds.
        self._left: dict[SessionId, tuple[float, float]] = {}

    def count(self, session_id: SessionId) -> None:
        """Raises ClientLimit when it is too often."""
        now = self._monotonic()
        left = self._at(session_id, now)
        if left < 1:
            raise ClientLimit("Too many connections to this session in a short time.", limit=str(int(_PER_SECOND)))
        if len(self._left) >= _MOST_REMEMBERED:
            self._left = {key: value for key, value in self._left.items() if self._at(key, now) < _BURST}
        self._left[session_id] = (left - 1, now)

    def _at(self, session_id: SessionId, now: float) -> float:
        left, then = self._left.get(session_id, (_BURST, now))
        return min(_BURST, left + (now - then) * _PER_SECOND)
