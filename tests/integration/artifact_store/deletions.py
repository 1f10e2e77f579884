"""A way to the object store that breaks in the middle of deleting."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from local_stack.ports import LOOPBACK


class BreakingWay:
    """Passes bytes on both ways; after `deletes_left` more DELETE requests nothing gets through until it is None."""

    def __init__(self, endpoint: str) -> None:
        self._target = urlsplit(endpoint)
        self.endpoint = ""
        self.deletes_left: int | None = None
        self.refused = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._join, LOOPBACK, 0) as server:
            self.endpoint = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
            yield

    async def _join(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        answers = asyncio.create_task(_pass_on(reader, client_writer))
        try:
            while data := await client_reader.read(2**16):
                if self._breaks(data):
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            client_writer.transport.abort()
            writer.close()

    def _breaks(self, data: bytes) -> bool:
        if self.deletes_left is None:
            return False
        if self.deletes_left and data.startswith(b"DELETE "):
            self.deletes_left -= 1
            return False
        self.refused += self.deletes_left == 0
        return self.deletes_left == 0


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
