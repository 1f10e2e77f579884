"""Waiting for a condition instead of sleeping for a guess.

`until` is for what the test's own process can look at without waiting: the state of a fake, a file that is there.
`eventually` is for what has to be asked, of a server or in a thread; it returns the answer and says what stayed away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Return when `condition` holds, looked at every 5 ms. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.005)


async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float, what: str) -> T:
    """Return the first truthy result of `check`, asked every 50 ms. Fails the test after `within` seconds."""
    started = time.monotonic()
    while True:
        result = await check()
        if result:
            return result
        if time.monotonic() - started > within:
            raise AssertionError(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.05)
