"""A web server on loopback that keeps connections open and answers in every way that HTTP/1.1 has."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.support.pages import FILE

PAGE = b"<!doctype html><title>A page</title><h1 id=head>Hello</h1>"
BIG_BYTES = 8_000_000


@dataclass
class Web:
    """What the server saw."""

    port: int = 0
    connections: int = 0
    open_connections: int = 0
    heads: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]


@contextlib.asynccontextmanager
async def serving_web(
    host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Web]:
    web = Web()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.connections += 1
        web.open_connections += 1
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await _answer(web, reader, writer):
                pass
        writers.discard(writer)
        web.open_connections -= 1
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def _answer(web: Web, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; return whether the connection goes on."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    web.heads.append(head)
    method, target, _ = head.split("\r\n")[0].split(" ")
    path, _, query = target.partition("?")
    if path == "/early":
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        return True
    body = await _body(head, reader)
    if path == "/chunked":
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    elif path == "/until-close":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        return False
    elif path == "/cut":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        return False
    elif path == "/nothing":
        return False
    elif path == "/garbage":
        writer.write(b"\x16\x03\x01 what\r\n\r\n")
        return False
    elif path == "/endless":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            web.sent += 65536
    elif path == "/hints":
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    else:
        status, headers, content = _plain(path, query, body)
        closing = "connection: close" in head.lower()
        if closing:
            headers += b"connection: close\r\n"
        length = len(content)
        writer.write(
            b"HTTP/1.1 %b\r\ncontent-length: %d\r\naccess-control-allow-origin: *\r\n%b\r\n" % (status, length, headers)
        )
        if method != "HEAD":
            writer.write(content)
        await writer.drain()
        return not closing
    return True


def _plain(path: str, query: str, body: bytes) -> tuple[bytes, bytes, bytes]:
    if path == "/redirect":
        return b"302 Found", b"location: %b\r\n" % query.encode(), b""
    if path == "/407":
        return b"407 Who", b'proxy-authenticate: Basic realm="x"\r\n', b"who are you"
    if path == "/echo":
        return b"200 OK", b"content-type: text/plain\r\n", body
    if path == "/file":
        return b"200 OK", b'content-type: text/csv\r\ncontent-disposition: attachment; filename="table.csv"\r\n', FILE
    if path == "/big":
        return b"200 OK", b"content-type: application/octet-stream\r\n", b"x" * BIG_BYTES
    return b"200 OK", b"content-type: text/html\r\n", PAGE


async def _body(head: str, reader: asyncio.StreamReader) -> bytes:
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return body
