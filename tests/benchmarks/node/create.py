"""A session's beginning and end on a node, warm, cold and lean, beside raw Chrome's in turns.

`python -m tests.benchmarks.node.create` runs two nodes as processes, one with browsers that stand ready and one
without. Writes `bench-output/create.json`. Rows whose ratio misses its goal are marked, and do not fail the run.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from browserfleet.browser.v1 import browser_pb2
from tests.benchmarks.cdp import cdp_client, raw_chrome
from tests.benchmarks.report import Row, print_table, write_json
from tests.support.fake_fleet import FakeFleet, NodeProcess, a_fleet
from tests.support.pages import serving_pages
from tests.support.real_browsers import short_folder
from tests.support.waiting import until

_BATCH, _AT_ONCE = 20, 4
_RELEASE_GOAL_MS = 50.0
_PAUSE_SECONDS = 2
_LEAN = browser_pb2.BrowserSpec(tier=browser_pb2.BROWSER_TIER_LEAN)


@dataclass
class Samples:
    """Seconds from the wish for a browser to its first answer, to its first page, and for its end."""

    answer: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


Way = Callable[[Samples], Awaitable[None]]


class Bench:
    """Raw Chrome and two nodes, with a page to open."""

    def __init__(self, *, site: str, cold: NodeProcess, warm: NodeProcess) -> None:
        self._site = site
        self._cold = cold
        self._warm = warm
        self._numbers = itertools.count(1)

    async def raw(self, samples: Samples) -> None:
        began = time.perf_counter()
        async with raw_chrome() as (url, _):
            await self._use(url, samples, began)
            ending = time.perf_counter()
        samples.end.append(time.perf_counter() - ending)

    async def cold(self, samples: Samples) -> None:
        await self._session(self._cold, samples, browser_pb2.BrowserSpec(), warm=False)

    async def lean(self, samples: Samples) -> None:
        await self._session(self._cold, samples, _LEAN, warm=False)

    async def warm(self, samples: Samples) -> None:
        await until(lambda: self._warm.fleet.heartbeats[-1].warm_browsers >= 1, within=60)
        await self._session(self._warm, samples, browser_pb2.BrowserSpec(), warm=True)
        await asyncio.sleep(1)
        await until(lambda: self._warm.fleet.heartbeats[-1].warm_browsers >= 1, within=60)

    async def _session(self, node: NodeProcess, samples: Samples, spec: browser_pb2.BrowserSpec, *, warm: bool) -> None:
        session_id = f"pbs_{next(self._numbers):026}"
        began = time.perf_counter()
        browser = await node.start_browser(session_id=session_id, spec=spec)
        if (browser.start_mode == browser_pb2.START_MODE_WARM) is not warm:
            raise RuntimeError(f"not the start that is measured: {browser.start_mode_message}")
        await self._use(node.attach_url_of(session_id), samples, began)
        ending = time.perf_counter()
        await node.stop_browser(session_id)
        samples.end.append(time.perf_counter() - ending)

    async def _use(self, url: str, samples: Samples, began: float) -> None:
        async with cdp_client(url) as client:
            await client.call("Browser.getVersion")
            samples.answer.append(time.perf_counter() - began)
            await client.visit(self._site)
            samples.page.append(time.perf_counter() - began)


async def measure_turns(bench: Bench, turns: int) -> list[Row]:
    """Each way once a turn, in changing order."""
    ways: dict[str, Way] = {"raw": bench.raw, "warm": bench.warm, "cold": bench.cold, "lean": bench.lean}
    samples = {name: Samples() for name in ways}
    for turn in range(turns):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            await ways[name](samples[name])
            # What is cleared away, and what fills a gap, must not share the machine with the next one.
            await asyncio.sleep(_PAUSE_SECONDS)
    rows = []
    for name, answer_goal, page_goal in (("warm", 0.05, 0.15), ("cold", 1.0, 1.0), ("lean", 0.6, 0.6)):
        for what, goal in (("answer", answer_goal), ("page", page_goal)):
            value, floor = _median_ms(getattr(samples[name], what)), _median_ms(getattr(samples["raw"], what))
            rows.append(Row(metric=f"{name}: create to first {what}", value=value, unit="ms", floor=floor, goal=goal))
    ends = samples["warm"].end + samples["cold"].end
    floor = _median_ms(samples["raw"].end)
    rows.append(Row(metric="release", value=_median_ms(ends), unit="ms", floor=floor, goal=_RELEASE_GOAL_MS / floor))
    return rows


async def measure_batches(bench: Bench) -> list[Row]:
    """Many sessions, some at a time: create, open a page, release."""
    ways: dict[str, Way] = {"raw": bench.raw, "cold": bench.cold, "lean": bench.lean}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for names in (list(ways), list(ways)[::-1]):
        for name in names:
            line = asyncio.Semaphore(_AT_ONCE)

            async def one(way: Way, line: asyncio.Semaphore) -> None:
                async with line:
                    await way(Samples())

            began = time.perf_counter()
            await asyncio.gather(*(one(ways[name], line) for _ in range(_BATCH)))
            took[name].append(time.perf_counter() - began)
    floor = statistics.median(took["raw"])
    return [
        Row(
            metric=f"{name}: {_BATCH} sessions, {_AT_ONCE} at a time",
            value=statistics.median(took[name]),
            unit="s",
            floor=floor,
            goal=goal,
        )
        for name, goal in (("cold", 1.0), ("lean", 1 / 2.2))
    ]


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


@asynccontextmanager
async def a_node(fleet: FakeFleet, *, warm: int) -> AsyncIterator[NodeProcess]:
    with short_folder() as folder:
        extra = {"FLEET_WARM_BROWSERS": str(warm), "FLEET_SLOTS": str(_AT_ONCE), "LOG_LEVEL": "WARNING"}
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra=extra)
        async with node.ended_at_last():
            await node.start()
            yield node


async def main(turns: int, *, batches: bool) -> list[Row]:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(serving_pages())
        nodes = []
        for warm in (0, 1):
            fleet = await stack.enter_async_context(a_fleet())
            nodes.append(await stack.enter_async_context(a_node(fleet, warm=warm)))
        bench = Bench(site=site, cold=nodes[0], warm=nodes[1])
        rows = await measure_turns(bench, turns)
        return [*rows, *(await measure_batches(bench) if batches else [])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--no-batches", dest="batches", action="store_false")
    options = parser.parse_args()
    measured = asyncio.run(main(options.turns, batches=options.batches))
    print_table(measured)
    write_json(measured, Path("bench-output") / "create.json")
    sys.exit(0)
