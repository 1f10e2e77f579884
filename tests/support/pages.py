"""A small web application for browsers under test, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_PAGE = b"""<!doctype html><title>A page</title><h1 id=head>Hello</h1>
<p><a id=file href=/file download>file</a>
<script>document.cookie = 'seen=yes; max-age=3600'</script>"""
FILE = b"a,b\n1,2\n" * 1000


@contextlib.asynccontextmanager
async def serving_pages() -> AsyncIterator[str]:
    """Serve within the block; gives the base URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            is_file = head.split(b" ")[1] == b"/file"
            body = FILE if is_file else _PAGE
            kind = b"text/csv" if is_file else b"text/html"
            disposition = b'content-disposition: attachment; filename="table.csv"\r\n' if is_file else b""
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%scontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (kind, disposition, len(body), body)
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
