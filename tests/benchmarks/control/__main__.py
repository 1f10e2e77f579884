"""The control plane under load, beside floors of the same run: `python -m tests.benchmarks.control`.

Writes `bench-output/control.json`. A figure that misses its goal is marked and does not fail the run; a session, a slot
or an event that was lost does.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tests.benchmarks.control.creates import flatness, measure_filling, measure_half_load, measure_point
from tests.benchmarks.control.figures import (
    CurvePoint,
    Figure,
    Invariant,
    print_curve,
    print_figures,
    print_invariants,
    write_json,
)
from tests.benchmarks.control.floors import Floors, measure_floors, ms
from tests.benchmarks.control.invariants import check_closed, check_open
from tests.benchmarks.control.loaded_fleet import LoadedFleet, loaded_fleet
from tests.benchmarks.control.nodes_load import measure_heartbeats, measure_rest
from tests.benchmarks.control.options import LoadOptions, parse
from tests.benchmarks.control.reads import measure_reads, measure_watch
from tests.benchmarks.control.servers import control_servers

# A run that hangs ends by itself.
_LONGEST_RUN = timedelta(minutes=45)


@dataclass(slots=True)
class Results:
    """What a run has found so far."""

    figures: list[Figure] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    invariants: list[Invariant] = field(default_factory=list)


async def run(options: LoadOptions, state_dir: Path) -> Results:
    """Bring the load up step by step, measure, take it down again, and look whether anything was lost."""
    results = Results()
    async with control_servers(options.stack(state_dir), replicas=options.replicas) as servers:
        say("floors")
        floors = await measure_floors(servers, options)
        results.figures += floors.figures()
        await servers.start_services()
        async with loaded_fleet(options, servers) as fleet:
            await bring_up(fleet, floors, results)
            say("reads")
            results.figures += [*await measure_reads(fleet, floors), *await measure_watch(fleet)]
            say("heartbeats")
            results.figures += await measure_heartbeats(fleet, floors)
            say("at rest")
            await fleet.drained()
            results.figures += await measure_rest(fleet)
            results.invariants += await check_open(fleet)
            say("closing")
            closing = await fleet.close_down_to(0)
            results.figures.append(Figure(metric="closes, most", value=closing.rate, unit="/s"))
            results.figures.append(Figure(metric="closes, most, p99", value=ms(closing.p99), unit="ms"))
            results.figures.append(
                Figure(metric="time until its events are out", value=(await fleet.drained()).total_seconds(), unit="s")
            )
            results.invariants += await check_closed(fleet)
    return results


async def bring_up(fleet: LoadedFleet, floors: Floors, results: Results) -> None:
    """Let nodes join and sessions open, with a point of the curve at each size."""
    options = fleet.options
    node_steps, session_steps = options.node_steps, options.session_steps
    for nodes in node_steps:
        say(f"{nodes} nodes")
        await fleet.have_nodes(nodes)
        await fleet.have_sessions(session_steps[0])
        results.curve.append(await measure_point(fleet, nodes=nodes, sessions=session_steps[0]))
    for sessions in session_steps[1:]:
        say(f"{sessions} sessions")
        filling = await measure_filling(fleet, sessions)
        results.curve.append(await measure_point(fleet, nodes=options.nodes, sessions=sessions))
    results.figures += filling.figures(floors)
    say("half load")
    results.figures += await measure_half_load(fleet, floors, most=filling.creates.rate)
    results.figures += flatness(results.curve)


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def state_folder(options: LoadOptions) -> Iterator[Path]:
    """Return the folder of the run, which a scratch one does not outlive."""
    if options.state_dir is not None:
        yield options.state_dir.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="bench-control-") as folder:
        yield Path(folder) / "stack"


async def main(options: LoadOptions) -> int:
    with state_folder(options) as state_dir:
        async with asyncio.timeout(_LONGEST_RUN.total_seconds()):
            results = await run(options, state_dir)
    print_figures(results.figures)
    print_curve(results.curve)
    print_invariants(results.invariants)
    size = {
        "nodes": options.nodes,
        "sessions": options.sessions,
        "seconds": options.window.total_seconds(),
        "replicas": options.replicas,
    }
    write_json(
        options.output, options=size, figures=results.figures, curve=results.curve, invariants=results.invariants
    )
    return 0 if all(invariant.ok for invariant in results.invariants) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
