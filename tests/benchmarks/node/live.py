"""Live view and recording, beside a client that casts a page of a raw Chrome, in turns.

`python -m tests.benchmarks.node.live`. Writes `bench-output/live.json`. CPU is time of processes, so that other load on
the machine disturbs it less than it does rates and latencies. Rows that miss their goal are marked, and do not fail.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import psutil
from websockets.asyncio.client import connect

from browser_node.adapters.chromium.pictures.screencast import _decode_frame
from tests.benchmarks.cdp import raw_chrome
from tests.benchmarks.node.raw_cast import RawCast, raw_cast
from tests.benchmarks.report import Row, print_table, write_json
from tests.support.live import TestViewer, watching

_ROUNDS = 3
_SPAN = 3.0
_FPS = 25
_CLICKS = 40
_MOVING = (
    "data:text/html,<body style='margin:0;font:20px sans-serif'><div id=b style='position:absolute;width:200px;"
    "height:200px;background:linear-gradient(45deg,red,blue)'></div><div id=t></div>"
    + "<p>lorem ipsum dolor sit amet consectetur</p>"
    * 12
    + "<script>let n=0;(function f(){b.style.left=(n++*7)%251000+'px';t.textContent=performance.now();"
    "requestAnimationFrame(f)})()</script>"
)
_CLICKED = (
    "data:text/html,<body style='margin:0;height:100vh' "
    "onmousedown=\"document.body.style.background=document.body.style.background?'':'teal'\">click"
)


@dataclass
class Host:
    """A node in a process of its own."""

    process: asyncio.subprocess.Process
    attach: str
    view: str
    control: str
    browser: psutil.Process
    node: psutil.Process


@contextlib.asynccontextmanager
async def node_process() -> AsyncIterator[Host]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.node.live_host",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    told = json.loads(await process.stdout.readline())
    browser = psutil.Process(told.pop("browser_pid"))
    try:
        yield Host(process=process, browser=browser, node=psutil.Process(process.pid), **told)
    finally:
        process.stdin.close()
        await process.wait()


def tree_seconds(process: psutil.Process) -> float:
    return sum(own_seconds(member) for member in [process, *process.children(recursive=True)])


def own_seconds(process: psutil.Process) -> float:
    """CPU time of a process's threads. Not its usual counters: those count hundredths of a second."""
    nanoseconds = 0
    for thread in Path(f"/proc/{process.pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


@dataclass
class Span:
    """What a span of time cost: shares of a core, and pictures a second."""

    browser: list[float] = field(default_factory=list)
    node: list[float] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)

    async def measure(
        self, browser: psutil.Process, node: psutil.Process | None, pictures: Callable[[], int] = lambda: 0
    ) -> None:
        await asyncio.sleep(0.7)
        before, began, count = tree_seconds(browser), time.monotonic(), pictures()
        node_before = own_seconds(node) if node is not None else 0.0
        await asyncio.sleep(_SPAN)
        seconds = time.monotonic() - began
        self.browser.append((tree_seconds(browser) - before) / seconds)
        self.node.append((own_seconds(node) - node_before) / seconds if node is not None else 0.0)
        self.fps.append((pictures() - count) / seconds)


async def show(host: Host, url: str) -> None:
    """Let a person open a page: nothing is recorded for that."""
    async with watching(host.control) as person:
        await person.say("navigate", tab=await person.tab(), url=url)
        await person.sees(lambda viewer: (tab := viewer.active()) and tab["url"][:40] == url[:40])


async def two_viewers(stack: AsyncExitStack, host: Host) -> list[TestViewer]:
    viewers = [await stack.enter_async_context(watching(host.view)) for _ in range(2)]
    for viewer in viewers:
        await viewer.say("quality", fps=_FPS)
        await viewer.tab()
    return viewers


async def attached(stack: AsyncExitStack, host: Host) -> None:
    """Join a CDP client that does nothing: it is recorded."""
    await stack.enter_async_context(connect(host.attach, max_size=None))


async def measure_moving(host: Host, raw: RawCast, raw_browser: psutil.Process) -> list[Row]:
    await show(host, _MOVING)
    await raw.show(_MOVING)
    alone, recorded, watched = Span(), Span(), Span()
    raw_alone, raw_paced, raw_watched = Span(), Span(), Span()
    for _ in range(_ROUNDS):
        await alone.measure(host.browser, host.node)
        async with AsyncExitStack() as stack:
            await attached(stack, host)
            await recorded.measure(host.browser, host.node)
        async with AsyncExitStack() as stack:
            viewers = await two_viewers(stack, host)
            await watched.measure(host.browser, host.node, partial(_pictures, viewers))
        await raw_alone.measure(raw_browser, None)
        await raw.start()
        await raw_watched.measure(raw_browser, None, lambda: raw.pictures)
        raw.fps = 5
        await raw_paced.measure(raw_browser, None)
        raw.fps = _FPS
        await raw.stop()
    added = statistics.median(recorded.browser) - statistics.median(alone.browser)
    paced = statistics.median(raw_paced.browser) - statistics.median(raw_alone.browser)
    fps = statistics.median(watched.fps) / 2
    node_cpu = statistics.median(watched.node) - statistics.median(alone.node)
    recording_cpu = statistics.median(recorded.node) - statistics.median(alone.node)
    decode = _decode_cost(raw.sample)
    return [
        # As time between pictures, so that less is better.
        _row(
            "time between pictures, each of two viewers", 1e3 / fps, "ms", 1e3 / statistics.median(raw_watched.fps), 1.1
        ),
        _row(
            "browser CPU with two viewers",
            statistics.median(watched.browser),
            "core",
            statistics.median(raw_watched.browser),
            1.1,
        ),
        _row("node CPU a picture, to two viewers, against decoding it", node_cpu / fps * 1e3, "ms", decode * 1e3, 20),
        _row("node CPU of two viewers, in cores of one", node_cpu, "core", 1.0, 0.06),
        _row("browser CPU that recording adds, against acknowledging 5/s", added, "core", paced, 0.7),
        _row("node CPU a recorded picture", recording_cpu / 5 * 1e3, "ms", 0.3, 1.0),
    ]


def _pictures(viewers: list[TestViewer]) -> int:
    return sum(len(viewer.frames) for viewer in viewers)


async def measure_still(host: Host) -> list[Row]:
    await show(host, _CLICKED)
    alone, watched = Span(), Span()
    for _ in range(_ROUNDS):
        await alone.measure(host.browser, host.node)
        async with AsyncExitStack() as stack:
            await attached(stack, host)
            await two_viewers(stack, host)
            await watched.measure(host.browser, host.node)
    return [
        _row(f"still page, recorded and watched: {what} CPU over nobody", after - before, "core", 1.0, 0.01)
        for what, before, after in (
            ("browser", statistics.median(alone.browser), statistics.median(watched.browser)),
            ("node", statistics.median(alone.node), statistics.median(watched.node)),
        )
    ]


async def measure_latency(host: Host, raw: RawCast) -> list[Row]:
    """From a click to the first picture that shows what it did."""
    await show(host, _CLICKED)
    await raw.show(_CLICKED)
    raw.fps = 1000
    await raw.start()
    ours: list[float] = []
    floor: list[float] = []
    async with watching(host.control) as person:
        await person.say("quality", fps=30)
        tab = await person.tab()

        async def click() -> None:
            count = len(person.frames)
            for action in ("down", "up"):
                await person.say("mouse_button", tab=tab, action=action, x=0.5, y=0.5)
            await person.sees(lambda viewer: len(viewer.frames) > count)

        async def raw_click() -> None:
            raw.came.clear()
            for kind in ("mousePressed", "mouseReleased"):
                raw.tell("Input.dispatchMouseEvent", type=kind, x=640, y=300, button="left", clickCount=1)
            async with asyncio.timeout(10):
                await raw.came.wait()

        for _ in range(_CLICKS):
            ours.append(await _timed(click))
            floor.append(await _timed(raw_click))
    return [_row("click to picture, median", statistics.median(ours) * 1e3, "ms", statistics.median(floor) * 1e3, 1.5)]


async def _timed(action: Callable[[], Awaitable[None]]) -> float:
    # Past what the last one may still have under way.
    await asyncio.sleep(0.3)
    began = time.perf_counter()
    await action()
    return time.perf_counter() - began


def _decode_cost(message: bytes) -> float:
    """CPU time of reading one picture out of its CDP event: the least that anybody in between has to do."""
    # Chrome's port sends the same with the session in another place.
    event = msgspec.json.encode({"params": msgspec.json.decode(message)["params"], "sessionId": "S"})
    began = time.process_time()
    for _ in range(200):
        _decode_frame(event)
    return (time.process_time() - began) / 200


def _row(metric: str, value: float, unit: str, floor: float, goal: float) -> Row:
    return Row(metric=metric, value=value, unit=unit, floor=floor, goal=goal)


async def main() -> list[Row]:
    async with node_process() as host, raw_chrome() as (url, raw_browser), raw_cast(url) as raw:
        await raw.open(_MOVING)
        return [
            *await measure_moving(host, raw, raw_browser),
            *await measure_still(host),
            *await measure_latency(host, raw),
        ]


if __name__ == "__main__":
    rows = asyncio.run(main())
    print_table(rows)
    write_json(rows, Path("bench-output") / "live.json")
