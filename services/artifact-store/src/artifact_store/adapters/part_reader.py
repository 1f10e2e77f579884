"""An async stream as the blocking file that a client library reads from another thread."""

import asyncio
from collections.abc import AsyncIterator


class PartSource:
    """Cuts a stream into parts of a wanted size; reads it only when asked."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self._ended = False

    async def take(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        while len(self._buffer) < size and not self._ended:
            try:
                self._buffer += await anext(self._chunks)
            except StopAsyncIteration:
                self._ended = True
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part


class PartReader:
    """`read` for a thread; the bytes are fetched on the event loop, so that the sender feels how fast they are used."""

    def __init__(self, first: bytes, source: PartSource) -> None:
        self._first = first
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._abandoned = False
        self._reading: asyncio.Task[bytes] | None = None

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end. Raises what the stream raises, and OSError once abandoned."""
        if self._first:
            part, self._first = self._first[:size], self._first[size:]
            return part
        return asyncio.run_coroutine_threadsafe(self._take(size), self._loop).result()

    def abandon(self) -> None:
        """Make the present and every later `read` fail. Called on the event loop."""
        self._abandoned = True
        if self._reading is not None:
            self._reading.cancel()

    async def _take(self, size: int) -> bytes:
        if self._abandoned:
            raise OSError("the stream was abandoned")
        self._reading = asyncio.current_task()
        try:
            return await self._source.take(size)
        finally:
            self._reading = None
