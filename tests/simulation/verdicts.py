"""Where violations are noted."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.loop import VirtualLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that does not hold, by its number in the design where it has one, and when that was seen."""

    invariant: str
    message: str
    time: float


class Verdicts:
    """The first violation ends the schedule. `trace`, where set, is told what happens."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.violation: Violation | None = None
        self.trace: Callable[[str], None] | None = None
        self._loop = loop

    def broken(self, invariant: str, message: str) -> None:
        """Note a violation."""
        if self.violation is None:
            self.violation = Violation(invariant=invariant, message=message, time=self._loop.time())
            self._loop.stop()

    def failed(self, process: str, error: BaseException) -> None:
        """Note an error of a process that is nobody's answer."""
        self.broken("I11", f"{process} failed with {type(error).__name__}: {error}")
