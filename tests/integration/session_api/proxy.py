"""A way to Postgres that breaks at the worst moment: in the middle of a COMMIT."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from local_stack.ports import LOOPBACK

# A statement that stands alone and commits by itself, as the driver prepares it: its name there, and how it begins.
_PREPARED_CHANGE = re.compile(rb"P....(__asyncpg_stmt_[0-9a-f]+__)\x00WITH (?:slot|saved) AS", re.DOTALL)


class Cut(StrEnum):
    """When the connection breaks: whether the transaction counts differs, what the client sees does not."""

    BEFORE_THE_SERVER_HEARS = "BEFORE_THE_SERVER_HEARS"
    BEFORE_THE_SERVER_ANSWERS = "BEFORE_THE_SERVER_ANSWERS"
    BEFORE_THE_CLIENT_HEARS = "BEFORE_THE_CLIENT_HEARS"


class CuttingProxy:
    """Passes bytes on both ways. `dsn` leads through it."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self.dsn = ""
        self.cuts = 0
        self._cut: Cut | None = None
        self._commits_left = 0

    def cut_commit(self, number: int, cut: Cut) -> None:
        """Break the connection at the `number`th COMMIT, or change that commits by itself, from now."""
        self._cut, self._commits_left = cut, number

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._join, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            user, _, _ = self._target.netloc.rpartition("@")
            self.dsn = urlunsplit(self._target._replace(netloc=f"{user}@{LOOPBACK}:{port}"))
            yield

    async def _join(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        answers = asyncio.create_task(_pass_on(reader, client_writer))
        changes: set[bytes] = set()
        try:
            while data := await client_reader.read(2**16):
                cut = self._due(data, changes)
                if cut is Cut.BEFORE_THE_SERVER_HEARS:
                    break
                if cut is Cut.BEFORE_THE_CLIENT_HEARS:
                    answers.cancel()
                    await asyncio.wait([answers])
                writer.write(data)
                await writer.drain()
                if cut is Cut.BEFORE_THE_CLIENT_HEARS:
                    await reader.read(2**16)
                if cut is not None:
                    break
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            client_writer.transport.abort()
            # Not aborted: what the server was sent before, it hears.
            writer.close()

    def _due(self, data: bytes, changes: set[bytes]) -> Cut | None:
        prepared = _PREPARED_CHANGE.findall(data)
        changes.update(prepared)
        if self._cut is None or prepared:
            return None
        if b"COMMIT;" not in data and not any(name + b"\0" in data for name in changes):
            return None
        self._commits_left -= 1
        if self._commits_left:
            return None
        cut, self._cut = self._cut, None
        self.cuts += 1
        return cut


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
