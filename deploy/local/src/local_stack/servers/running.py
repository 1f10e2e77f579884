"""One server as a block, for tests and tools that need no whole stack."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from local_stack.managed import ManagedProcess, Program
from local_stack.supervisor import Supervisor


@contextlib.asynccontextmanager
async def kept_running(program: Program, *, logs: Path) -> AsyncIterator[ManagedProcess]:
    """Keep one program running within the block. Raises StartFailed."""
    async with Supervisor(logs=logs) as supervisor:
        await supervisor.start(program)
        yield supervisor.process(program.name)
