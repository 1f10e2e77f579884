"""Work that has to finish although its caller is being cancelled, or has failed."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import TypeVar

from browserfleet.client.errors import FleetError, FleetUnavailable

Result = TypeVar("Result")


async def finish(work: Coroutine[None, None, Result], *, within: timedelta) -> Result:
    """Run `work` to its end, for at most `within`, and return its result.

    Cancelling the caller does not reach the work; it takes effect as soon as the work is over. Raises what the work
    raises, TimeoutError when the time ran out (the work is then cancelled), and CancelledError before either.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    deadline = loop.time() + within.total_seconds()
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and loop.time() < deadline:
        try:
            await asyncio.wait({task}, timeout=deadline - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    in_time = task.done()
    if not in_time:
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    if cancelled is not None:
        if task.done() and not task.cancelled():
            # Read, so that it is not reported as never retrieved: the cancellation is what the caller learns.
            task.exception()
        raise cancelled
    if not in_time:
        raise TimeoutError(f"not finished within {within.total_seconds():g} s")
    return task.result()


async def finish_after(
    error: BaseException | None,
    work: Coroutine[None, None, object],
    *,
    within: timedelta,
    otherwise: str,
    reason: str,
) -> None:
    """Run `work` to its end behind a block, which raised `error` or nothing.

    Where the work fails, `otherwise` says what follows from that: as FleetUnavailable, or as a note on what the block
    raised, which matters more.
    """
    try:
        await finish(work, within=within)
    except (FleetError, TimeoutError) as fault:
        unfinished = f"{otherwise}: {fault}"
        if error is None:
            raise FleetUnavailable(unfinished, reason=reason) from fault
        error.add_note(unfinished)
