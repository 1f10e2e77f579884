"""Waiting for what a test cannot be told of, with a deadline."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Return when `condition` holds. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.005)
