"""What groups and walls add to a browser's start, in turns: `python -m tests.benchmarks.node.confinement`.

Writes `bench-output/confinement.json`. The floor is the same start of the same browser with neither.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from browser_node.adapters.chromium.browser import BrowserPipe
from browser_node.adapters.chromium.confinement.confinement import Confinement, confining
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.chromium.processes.accounts import claimed_accounts
from browser_node.adapters.chromium.processes.folders import Scratch
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.domain.limits import SessionLimits
from tests.benchmarks.report import Row, print_table, write_json
from tests.support.real_browsers import chrome_program, short_folder

_GOAL = 1.1


async def start(tree: BrowserTree, program: Program) -> float:
    """Return the milliseconds from nothing to the first answer; the browser is gone afterwards."""
    began = time.perf_counter()
    try:
        pipe = BrowserPipe()
        pipe.open((await tree.plant(program, pipe)).write)
        await pipe.call("Browser.getVersion")
        return (time.perf_counter() - began) * 1000
    finally:
        await tree.remove()


async def measure(rounds: int) -> list[Row]:
    """Start browsers of each kind in turns."""
    async with AsyncExitStack() as stack:
        accounts = await asyncio.to_thread(stack.enter_context, claimed_accounts())
        root = stack.enter_context(short_folder())
        scratch = Scratch(root / "b")
        await asyncio.to_thread(scratch.prepare)
        opened = confining(SessionLimits(), state_dir=root, scratch=root / "b", secrets=())
        full = await asyncio.to_thread(opened.__enter__)
        stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
        kinds: dict[str, Callable[[], Confinement]] = {
            "neither": Confinement,
            "groups": lambda: replace(full, walls=None),
            "walls": lambda: replace(full, groups=None),
            "groups and walls": lambda: full,
        }
        program = Program(path=await asyncio.to_thread(chrome_program), product="", sandboxed=True)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, confinement in kinds.items():
                tree = BrowserTree(scratch=scratch, accounts=accounts, confinement=confinement())
                times[kind].append(await start(tree, program))
        floor = statistics.median(times.pop("neither"))
        return [
            Row(metric=f"start with {kind}", value=statistics.median(spans), unit="ms", floor=floor, goal=_GOAL)
            for kind, spans in times.items()
        ]


def main() -> None:
    """Parse the arguments, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rows = asyncio.run(measure(parser.parse_args().rounds))
    print_table(rows)
    write_json(rows, Path("bench-output") / "confinement.json")


if __name__ == "__main__":
    main()
