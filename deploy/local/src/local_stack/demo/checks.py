"""The demo's checks: told as they happen, counted at the end."""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

# What a step does; it returns what was seen, in words.
Action = Callable[[], Awaitable[str]]


class NotSeen(Exception):
    """What a check looks for is not so."""


def expect(condition: object, otherwise: str) -> None:
    """Raise NotSeen unless the condition holds."""
    if not condition:
        raise NotSeen(otherwise)


@dataclass(frozen=True, slots=True)
class Check:
    """One check as it ended; `seconds` is how long it took."""

    name: str
    ok: bool
    seconds: float


class Checks:
    """Runs steps one after the other; one that fails does not stop the next."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._begin = time.monotonic()
        self.done: list[Check] = []

    @property
    def failed(self) -> int:
        return sum(not check.ok for check in self.done)

    def say(self, text: str) -> None:
        """Print a line behind the seconds since the demo began."""
        print(f"{time.monotonic() - self._begin:7.1f} s  {text}", file=self._out, flush=True)

    async def step(self, name: str, action: Action) -> bool:
        """Run one check and tell how it ended; any error fails it, a cancel leaves."""
        begin = time.monotonic()
        try:
            seen = await action()
        except Exception as error:
            self._end(name, begin, ok=False)
            cause = str(error) if isinstance(error, NotSeen) else f"{type(error).__name__}: {error}"
            self.say(f"FAILED  {name}: {cause}")
            return False
        self._end(name, begin, ok=True)
        self.say(f"ok      {name}: {seen}")
        return True

    def table(self) -> str:
        """Return all checks as a table, with the count on its last line."""
        width = max((len(check.name) for check in self.done), default=0)
        rows = [
            f"{check.name:<{width}}  {'ok' if check.ok else 'FAILED':<6}  {check.seconds:6.1f} s" for check in self.done
        ]
        return "\n".join([*rows, f"{len(self.done) - self.failed} passed, {self.failed} failed"])

    def write(self, path: Path) -> None:
        """Write all checks as JSON."""
        path.write_text(json.dumps([asdict(check) for check in self.done], indent=2, ensure_ascii=False) + "\n")

    def _end(self, name: str, begin: float, *, ok: bool) -> None:
        self.done.append(Check(name, ok, round(time.monotonic() - begin, 2)))
