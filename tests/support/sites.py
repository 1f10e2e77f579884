"""Web sites of any name, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from browser_node.domain.hosts import Address

_KINDS = {".js": "text/javascript", ".png": "image/png"}


@dataclass
class Sites:
    """Pages by `host/path`. `requested` are the pages that browsers have asked for, in order."""

    pages: Mapping[str, bytes]
    port: int = 0
    requested: list[str] = field(default_factory=list)

    def url(self, page: str) -> str:
        """The address of a page."""
        host, _, path = page.partition("/")
        return f"http://{host}:{self.port}/{path}"


@contextlib.asynccontextmanager
async def serving_sites(pages: Mapping[str, str | bytes]) -> AsyncIterator[Sites]:
    """Serve within the block. `PORT` in a page becomes the port."""
    sites = Sites({name: body.encode() if isinstance(body, str) else body for name, body in pages.items()})

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = head.split(" ")[1].partition("?")[0]
            host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
            page = host.split(":")[1].strip() + target
            sites.requested.append(page)
            body = sites.pages.get(page)
            kind = _KINDS.get(Path(target).suffix, "text/html")
            content = (body or b"").replace(b"PORT", str(sites.port).encode())
            writer.write(
                f"HTTP/1.1 {'404 Not Found' if body is None else '200 OK'}\r\ncontent-type: {kind}\r\n"
                f"content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        sites.port = server.sockets[0].getsockname()[1]
        yield sites


class LoopbackResolver:
    """A Resolver for which every name is this machine's."""

    async def resolve(self, name: str) -> Sequence[Address]:
        return [ip_address("127.0.0.1")]
