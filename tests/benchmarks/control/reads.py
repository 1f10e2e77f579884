"""Reading while every session is open: one, a page of them, and the news of changes."""

from tests.benchmarks.control.figures import Figure
from tests.benchmarks.control.floors import Floors, ms
from tests.benchmarks.control.loaded_fleet import LoadedFleet
from tests.benchmarks.control.orders import Get, List, Watch, WatchReport
from tests.benchmarks.control.timings import Timings

_A_FEW = 4
_LARGEST_PAGE = 1000
_CHANGE_RATE = 100.0


async def measure_reads(fleet: LoadedFleet, floors: Floors) -> list[Figure]:
    """Get, and list the newest page, with a few callers at once."""
    floor = floors.kit.trickle
    await fleet.quiet()
    gets = await fleet.caller.ask(Get(at_once=_A_FEW, within=fleet.window), Timings)
    lists = await fleet.caller.ask(List(page_size=50, at_once=_A_FEW, within=fleet.window), Timings)
    large = await fleet.caller.ask(List(page_size=_LARGEST_PAGE, at_once=_A_FEW, within=fleet.window), Timings)
    return [
        Figure(metric="get p50", value=ms(gets.p50), unit="ms", floor=ms(floor.p50)),
        Figure(metric="get p99", value=ms(gets.p99), unit="ms", floor=ms(floor.p99)),
        Figure(metric="list of 50 p50", value=ms(lists.p50), unit="ms", floor=ms(floor.p50)),
        Figure(metric="list of 50 p99", value=ms(lists.p99), unit="ms", floor=ms(floor.p99), at_most=100),
        Figure(metric="list of 1000 p50", value=ms(large.p50), unit="ms"),
        Figure(metric="list of 1000 p99", value=ms(large.p99), unit="ms"),
        Figure(metric="reads that failed", value=_failed(gets, lists, large), unit="", at_most=0),
    ]


async def measure_watch(fleet: LoadedFleet) -> list[Figure]:
    """From a change, by the database's clock, to its news at a watcher of all sessions."""
    report = await fleet.caller.ask(Watch(rate=_CHANGE_RATE, within=fleet.window), WatchReport)
    return [
        Figure(metric="watch lag p50 at 100 changes/s", value=ms(report.p50), unit="ms"),
        Figure(metric="watch lag p99 at 100 changes/s", value=ms(report.p99), unit="ms"),
        Figure(metric="changes that never came", value=report.missed, unit="", at_most=0),
    ]


def _failed(*loads: Timings) -> int:
    return sum(sum(load.failures.values()) for load in loads)
