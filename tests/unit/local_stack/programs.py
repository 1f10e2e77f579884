"""Stand-ins for servers: small scripts of the running interpreter."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from local_stack.processes import Command

WAIT_FOR_SIGNAL = "import signal; signal.sigwait({signal.SIGTERM})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A program that says so in `journal` when it starts and when it ends in order, and is ready in between."""

    name: str
    journal: Path
    body: str = WAIT_FOR_SIGNAL
    stop_timeout: timedelta = timedelta(seconds=5)

    async def prepare(self) -> None:
        """A script needs nothing."""

    def command(self) -> Command:
        # Blocked before the first line of the journal, so that a signal right after it waits for `sigwait`.
        code = f"""
import pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
def note(word):
    with pathlib.Path({str(self.journal)!r}).open("a") as journal:
        journal.write(word + " {self.name}\\n")
note("start")
{self.body}
note("stop")
"""
        return Command(argv=(sys.executable, "-I", "-S", "-c", code), stop_timeout=self.stop_timeout)

    async def ready(self) -> bool:
        return f"start {self.name}" in await asyncio.to_thread(read, self.journal)

    async def ended(self) -> None:
        """A script leaves nothing."""


def read(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []
