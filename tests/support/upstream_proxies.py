"""Proxies as others run them, on loopback: HTTP with or without TLS, and SOCKS5, with credentials."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from browser_node.domain.proxies import UpstreamKind

USERNAME, PASSWORD = "user", "p@ss:word"
_DENIED = b'HTTP/1.1 407 Who\r\nproxy-authenticate: Basic realm="x"\r\ncontent-length: 3\r\n\r\nwho'


@dataclass
class UpstreamProxy:
    """What the proxy was asked, as `host:port` or URL. Every name is loopback to it; `stop` kills it."""

    kind: UpstreamKind
    port: int = 0
    password: str = PASSWORD
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.kind}://127.0.0.1:{self.port}"

    async def start(self, tls: ssl.SSLContext | None) -> None:
        serve = self._socks if self.kind is UpstreamKind.SOCKS5 else self._http
        context = tls if self.kind is UpstreamKind.HTTPS else None

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.add(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if not self.hangs:
                    await serve(reader, writer)
                else:
                    await reader.read()
            self._writers.discard(writer)
            writer.close()

        self._server = await asyncio.start_server(connected, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n")[0].split(" ")
            credentials = base64.b64encode(f"{USERNAME}:{self.password}".encode()).decode()
            if f"proxy-authorization: basic {credentials}".lower() not in head.lower():
                writer.write(_DENIED)
                continue
            self.asked.append(target)
            authority = target if method == "CONNECT" else target.split("/")[2]
            if ".invalid" in authority:
                writer.write(b"HTTP/1.1 503 No Such Host\r\ncontent-length: 0\r\n\r\n")
                continue
            port = authority.rpartition(":")[2]
            far = await asyncio.open_connection("127.0.0.1", int(port))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                lines = [line for line in head.split("\r\n")[1:] if not line.lower().startswith("proxy-")]
                far[1].write("\r\n".join([f"{method} {path} HTTP/1.1", "connection: close", *lines]).encode())
            await _join((reader, writer), far)
            return

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = (await reader.readexactly(2))[1]
        methods = await reader.readexactly(count)
        if 2 not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(b"\x05\x02")
        username = await reader.readexactly((await reader.readexactly(2))[1])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        if (username.decode(), password.decode()) != (USERNAME, self.password):
            writer.write(b"\x01\x01")
            return
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            raw = await reader.readexactly(4 if kind == 1 else 16)
            host = ".".join(map(str, raw)) if kind == 1 else raw.hex(":")
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{host}:{port}")
        if host.endswith(".invalid"):
            writer.write(b"\x05\x04\x00\x01" + bytes(6))
            return
        far = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await _join((reader, writer), far)


@contextlib.asynccontextmanager
async def upstream_proxy(
    kind: UpstreamKind, *, tls: ssl.SSLContext | None = None, hangs: bool = False
) -> AsyncIterator[UpstreamProxy]:
    proxy = UpstreamProxy(kind, hangs=hangs)
    await proxy.start(tls)
    try:
        yield proxy
    finally:
        proxy.stop()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(near: Streams, far: Streams) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    await asyncio.gather(pump(near[0], far[1]), pump(far[0], near[1]))
