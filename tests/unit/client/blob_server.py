"""A small HTTP server that serves one blob, understands Range, and can be told to cut a connection."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator


class BlobServer:
    """`cuts` are the bytes after which the next connections break, one a request; `ranges` what was asked for."""

    def __init__(self) -> None:
        self.blob = b""
        self.url = ""
        self.cuts: list[int] = []
        self.refused: list[int] = []
        self.honours_range = True
        self.ranges: list[str | None] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked = re.search(r"(?im)^range: bytes=(\d+)-", head)
        self.ranges.append(asked[1] if asked else None)
        if self.refused:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.refused.pop(0))
        else:
            self._answer(writer, int(asked[1]) if asked and self.honours_range else None)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    def _answer(self, writer: asyncio.StreamWriter, start: int | None) -> None:
        body = self.blob[start or 0 :]
        line = "200 OK"
        if start is not None:
            line = f"206 Partial Content\r\ncontent-range: bytes {start}-{len(self.blob) - 1}/{len(self.blob)}"
        writer.write(f"HTTP/1.1 {line}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode())
        writer.write(body[: self.cuts.pop(0)] if self.cuts else body)


@contextlib.asynccontextmanager
async def serving_blob() -> AsyncIterator[BlobServer]:
    blobs = BlobServer()
    server = await asyncio.start_server(blobs.handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        blobs.url = f"http://127.0.0.1:{port}/blob?X-Amz-Signature=secret"
        yield blobs
