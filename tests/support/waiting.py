"""Waiting for a condition instead of sleeping for a guess."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


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
