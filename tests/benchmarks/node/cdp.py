"""The way of a CDP message: through the node and through the edge, beside Chrome's own port, in turns.

`python -m tests.benchmarks.node.cdp` starts a stack; `--node-only` measures the node alone, in a process of its own.
Writes `bench-output/cdp.json`. Rows whose ratio misses its goal are marked, and do not fail the run.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import uvloop

from local_stack.options import StackOptions
from local_stack.stack import LocalStack
from tests.benchmarks.__main__ import Fleet
from tests.benchmarks.cdp import raw_chrome
from tests.benchmarks.node.quick_client import QuickClient, quick_client
from tests.benchmarks.report import Row, print_table, write_json
from tests.support.real_browsers import hosting_real_browsers

_ROUNDS = 12
_TRIPS = 300
_BURST = 2048
_AT_ONCE = 64
_LARGE_BYTES = 5_000_000
# At the median, at the 99th percentile, throughput as time, 5 MB either way.
_GOALS = {"node": (1.10, 1.30, 1 / 0.93, 1.05), "edge": (1.25, 1.50, 1 / 0.80, 1.10)}
_LABELS = {"node": "on the node", "edge": "through the edge"}


class Samples:
    """What was measured on one way, in seconds."""

    def __init__(self) -> None:
        self.trips: list[float] = []
        self.bursts: list[float] = []
        self.down: list[float] = []
        self.up: list[float] = []

    async def take(self, client: QuickClient, up: bytes) -> None:
        self.trips += [await client.trip() for _ in range(_TRIPS)]
        self.bursts.append(await client.burst(_BURST, _AT_ONCE))
        self.down.append(await client.trip(b"'x'.repeat(%d)" % _LARGE_BYTES))
        self.up.append(await client.trip(up))

    def figures(self) -> tuple[float, float, float, float, float]:
        p99 = statistics.quantiles(self.trips, n=100)[98]
        medians = [statistics.median(values) for values in (self.trips, self.bursts, self.down, self.up)]
        return medians[0], p99, medians[1], medians[2], medians[3]


async def compare(ways: dict[str, str]) -> list[Row]:
    """Measure each way in turns with a raw browser."""
    async with AsyncExitStack() as stack:
        raw_url, _ = await stack.enter_async_context(raw_chrome())
        samples = {name: Samples() for name in ("raw", *ways)}
        clients = {
            name: await stack.enter_async_context(quick_client(url)) for name, url in (("raw", raw_url), *ways.items())
        }
        up = b"'" + b"x" * _LARGE_BYTES + b"'.length"
        for turn in range(_ROUNDS):
            for name in list(clients)[:: 1 if turn % 2 else -1]:
                await samples[name].take(clients[name], up)
    floor = samples["raw"].figures()
    return [row for name in ways for row in _rows(name, samples[name].figures(), floor)]


def _rows(name: str, figures: Sequence[float], floor: Sequence[float]) -> list[Row]:
    trip, tail, burst, large = _GOALS[name]
    return [
        Row(metric=f"{metric} {_LABELS[name]}", value=value * 1e3, unit="ms", floor=least * 1e3, goal=goal)
        for metric, value, least, goal in zip(
            ("round trip p50", "round trip p99", f"{_BURST} calls, {_AT_ONCE} at once", "5 MB down", "5 MB up"),
            figures,
            floor,
            (trip, tail, burst, large, large),
            strict=True,
        )
    ]


async def serve_a_node() -> None:
    """Host one browser, print its address, and stay until the input ends."""
    async with hosting_real_browsers() as host:
        await host.start()
        print(host.url(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def a_node() -> AsyncIterator[dict[str, str]]:
    command = (sys.executable, "-m", "tests.benchmarks.node.cdp", "--serve")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield {"node": (await process.stdout.readline()).decode().strip()}
    finally:
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def a_stack() -> AsyncIterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        options = StackOptions(state_dir=Path(folder) / "stack", nodes=1, slots=2, warm_browsers=0)
        async with (
            LocalStack(options) as stack,
            grpc.aio.insecure_channel(stack.grpc_address) as channel,
            Fleet(stack, channel).session() as session,
        ):
            yield {"node": session.attach.direct_url, "edge": session.attach.edge_url}


async def main(arguments: argparse.Namespace) -> None:
    if arguments.serve:
        await serve_a_node()
        return
    async with a_node() if arguments.node_only else a_stack() as ways:
        rows = await compare(ways)
    print_table(rows)
    write_json(rows, Path("bench-output") / "cdp.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node-only", action="store_true", help="one node in a process of its own, no stack")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
