"""Pages and downloads through the egress forwarder, beside the same browser without it, in turns.

`python -m tests.benchmarks.node.egress` writes `bench-output/egress.json`. The web server and the forwarder are
processes of their own, on the loop that nodes run on. All is on loopback, where a connection costs nothing: the ratio
is the highest that can be. Rows whose ratio misses its goal are marked, and do not fail the run.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import psutil
import uvloop

from browser_node.adapters.egress.flags import egress_flags
from browser_node.adapters.egress.forwarder import forwarding
from browser_node.domain.egress import EgressPolicy, EgressRule
from browser_node.domain.proxies import ProxyLocations, Route
from tests.benchmarks.cdp import CdpClient, cdp_client, raw_chrome
from tests.benchmarks.report import Row, print_table, write_json

_TURNS = 12
_PARTS = 30
_PART_BYTES = 20_000
_LARGE_BYTES = 100_000_000
_CHUNK = b"x" * 1_000_000
# Through TLS and CONNECT a page would cost the forwarder less: there it only joins two sockets.
_GOALS = {"page": 1.3, "download": 1.3}
_PAGE = b"<!doctype html>" + b"".join(b"<img src='/part?%d'>" % number for number in range(_PARTS))
_DOWNLOAD = """(async () => {
  const reader = (await fetch('/large', {cache: 'no-store'})).body.getReader();
  let total = 0;
  for (;;) { const {done, value} = await reader.read(); if (done) return total; total += value.length; }
})()"""


class Pages(asyncio.Protocol):
    """A quick server: one page, its parts, and 100 MB."""

    def __init__(self) -> None:
        self._left = 0
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        if path == b"/large":
            self._head(b"application/octet-stream", _LARGE_BYTES)
            self._left = _LARGE_BYTES
            self._pour()
        elif path.startswith(b"/part"):
            self._head(b"image/png", _PART_BYTES)
            self._transport.write(_CHUNK[:_PART_BYTES])
        else:
            self._head(b"text/html", len(_PAGE))
            self._transport.write(_PAGE)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._pour()

    def _head(self, kind: bytes, length: int) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n"
            % (kind, length)
        )

    def _pour(self) -> None:
        while self._left and self._writable:
            self._transport.write(_CHUNK)
            self._left -= len(_CHUNK)


class Way:
    """One browser and what was measured in it, in seconds."""

    def __init__(self, client: CdpClient, url: str) -> None:
        self._client = client
        self._url = url
        self.pages: list[float] = []
        self.downloads: list[float] = []

    async def open(self) -> float:
        """Load the page and return the time to its load event, by the browser's own clock."""
        await self._client.call("Page.navigate", url=self._url)
        script = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        while not (ended := await self._evaluate(script)):
            await asyncio.sleep(0.005)
        return ended / 1e3

    async def take(self) -> None:
        self.pages.append(await self.open())
        began = time.perf_counter()
        assert await self._evaluate(_DOWNLOAD) == _LARGE_BYTES
        self.downloads.append(time.perf_counter() - began)

    async def _evaluate(self, script: str) -> float:
        answer = await self._client.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        result = answer["result"]
        assert isinstance(result, dict)
        return float(result.get("value") or 0)


async def measure_egress() -> list[Row]:
    """A page with 30 parts, and 100 MB, over clear HTTP; and the forwarder's processor time for a gigabyte."""
    async with AsyncExitStack() as stack:
        pages, _ = await stack.enter_async_context(_served("--serve-pages"))
        port, forwarder = await stack.enter_async_context(_served("--serve-forwarder"))
        ways = {}
        for name, flags in (("direct", []), ("forwarder", egress_flags(port))):
            url, _ = await stack.enter_async_context(raw_chrome(*flags))
            client = await stack.enter_async_context(cdp_client(url))
            await client.attach_to_page()
            ways[name] = Way(client, f"http://127.0.0.1:{pages}/")
            await ways[name].open()
        before = forwarder.cpu_times()
        for turn in range(_TURNS):
            for name in list(ways)[:: 1 if turn % 2 else -1]:
                await ways[name].take()
        after = forwarder.cpu_times()
    spent = after.user + after.system - before.user - before.system
    direct, through = ways["direct"], ways["forwarder"]
    gigabytes = _TURNS * _LARGE_BYTES / 1e9
    print(f"{_TURNS} turns; processor time of the forwarder: {spent / gigabytes:.2f} s for each GB")
    return [
        _row("page with 30 parts through the forwarder", through.pages, direct.pages, _GOALS["page"]),
        _row("100 MB through the forwarder", through.downloads, direct.downloads, _GOALS["download"]),
    ]


def _row(metric: str, values: list[float], floors: list[float], goal: float) -> Row:
    value, floor = statistics.median(values), statistics.median(floors)
    return Row(metric=metric, value=value * 1e3, unit="ms", floor=floor * 1e3, goal=goal)


@contextlib.asynccontextmanager
async def _served(what: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    """Run this module as a server: its port and its process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.node.egress", what),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def _serve_pages() -> None:
    server = await asyncio.get_running_loop().create_server(Pages, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _serve_forwarder() -> None:
    policy = EgressPolicy(allow=(EgressRule.parse("127.0.0.0/8"),))
    async with forwarding(policy=policy, locations=ProxyLocations()) as forwarder, forwarder.port(owner=None) as port:
        await port.use(Route())
        print(port.number, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def main(arguments: argparse.Namespace) -> None:
    if arguments.serve_pages:
        await _serve_pages()
    elif arguments.serve_forwarder:
        await _serve_forwarder()
    else:
        rows = await measure_egress()
        print_table(rows)
        write_json(rows, Path("bench-output") / "egress.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve-pages", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve-forwarder", action="store_true", help=argparse.SUPPRESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
