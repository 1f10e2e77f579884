"""An event loop whose time passes only while nobody has anything to do: a wait of minutes ends at once.

For tests that use no sockets and no threads.
"""

import asyncio
import selectors
from datetime import timedelta


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


async def settled() -> None:
    """Return when everybody waits for something: a test's next step, or a time."""
    await asyncio.sleep(1e-6)


async def elapse(span: timedelta) -> None:
    """Let time pass on the loop; clocks that tests step stand still."""
    await asyncio.sleep(span.total_seconds())


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # None: no timer is set, so that only a file descriptor can wake the loop.
        ready = super().select(None if timeout is None else 0)
        if timeout is not None and not ready:
            self.now += max(timeout, 0)
        return ready
