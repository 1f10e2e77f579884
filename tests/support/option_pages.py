"""A site that remembers how it was asked, and whose pages write down at once what they find."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

_PAGE = """<!doctype html><title>{name}</title><script>
var earlyAgent = navigator.userAgent, earlyLanguages = navigator.languages, earlySize = [innerWidth, innerHeight];
var earlyZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
fetch('/sub' + location.pathname);
</script>{frame}"""


@dataclass
class OptionSite:
    """Pages at 127.0.0.1, which are the same at 127.0.0.2: another site to a browser."""

    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def page(self, name: str, *, frame: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{name}" + (f"?frame={quote(frame, safe='')}" if frame else "")

    def elsewhere(self, name: str) -> str:
        return f"http://127.0.0.2:{self.port}/{name}"

    def requests_of(self, url: str) -> list[dict[str, str]]:
        """Headers of the requests for a page and of those that it sent, names in lower case."""
        path = "/" + url.split("/", 3)[3].split("?")[0]
        return [headers for asked, headers in self.requests if asked in (path, f"/sub{path}")]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path, _, query = head[0].split(" ")[1].partition("?")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            self.requests.append((path, {name.lower(): value for name, value in headers.items()}))
            frame = unquote(query.removeprefix("frame="))
            body = _PAGE.format(name=path, frame=f'<iframe src="{frame}"></iframe>' if frame else "").encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (len(body), body)
            )
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving_option_pages() -> AsyncIterator[OptionSite]:
    """Serve within the block."""
    site = OptionSite()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    second = await asyncio.start_server(site.answer, "127.0.0.2", site.port)
    async with server, second:
        yield site
