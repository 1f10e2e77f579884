"""Creating sessions: how many a second at most, how long one takes at half of that, and what one costs."""

from dataclasses import dataclass
from datetime import timedelta

from tests.benchmarks.control.figures import CurvePoint, Figure
from tests.benchmarks.control.floors import COMMITS, Floors, ms
from tests.benchmarks.control.loaded_fleet import DRIVERS, NATS, POSTGRES, SESSION_API, LoadedFleet, LoadFailed
from tests.benchmarks.control.options import CURVE_RATE
from tests.benchmarks.control.orders import CreatePaced
from tests.benchmarks.control.readings import Used
from tests.benchmarks.control.timings import Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Creates as fast as they go, up to the whole load; `draining`: how long events were still on their way after.

    `cpu` is what each create cost every part, less what the fleet costs at rest.
    """

    creates: Timings
    cpu: dict[str, timedelta]
    others: float
    waiting_events: int
    draining: timedelta

    def figures(self, floors: Floors) -> list[Figure]:
        rate, bare = self.creates.rate, floors.transactions.rate
        cpu = self.cpu
        return [
            Figure(metric="creates, most", value=rate, unit="/s", floor=bare, at_least=300),
            Figure(metric="creates, share of bare transactions", value=rate / bare, unit="", at_least=0.3),
            Figure(metric="creates, commits as share of bare transactions", value=COMMITS * rate / bare, unit=""),
            Figure(metric="creates, most, p50", value=ms(self.creates.p50), unit="ms"),
            Figure(metric="creates, most, p99", value=ms(self.creates.p99), unit="ms"),
            Figure(
                metric="create, CPU of session-api", value=ms(cpu[SESSION_API]), unit="ms", floor=ms(floors.create_cpu)
            ),
            Figure(
                metric="create, CPU of postgres",
                value=ms(cpu[POSTGRES]),
                unit="ms",
                floor=ms(COMMITS * floors.postgres_cpu),
            ),
            Figure(metric="create, CPU of nats", value=ms(cpu[NATS]), unit="ms"),
            Figure(metric="create, CPU of the drivers", value=ms(cpu[DRIVERS]), unit="ms"),
            Figure(metric="creates, most, cores of others", value=self.others, unit="cores"),
            Figure(metric="events that wait at the end of it", value=self.waiting_events, unit=""),
            Figure(metric="time until they are out", value=self.draining.total_seconds(), unit="s"),
        ]


async def measure_filling(fleet: LoadedFleet, sessions: int) -> Filling:
    """Create until so many sessions are open."""
    resting = await _rest(fleet)
    before = fleet.read()
    creates = await fleet.have_sessions(sessions)
    waiting = await fleet.waiting_events()
    draining = await fleet.drained()
    used = fleet.read().since(before)
    return Filling(
        creates=creates,
        cpu=used.beyond(resting).each(creates.count),
        others=used.others,
        waiting_events=waiting,
        draining=draining,
    )


async def measure_half_load(fleet: LoadedFleet, floors: Floors, *, most: float) -> list[Figure]:
    """How long a create takes while they come at half the rate that is possible."""
    open_before = await fleet.open_sessions()
    await fleet.quiet()
    before = fleet.read()
    creates = await _paced(fleet, rate=most / 2)
    used = fleet.read().since(before)
    await fleet.close_down_to(open_before)
    await fleet.drained()
    floor = floors.kit.trickle
    return [
        Figure(metric="create at half load, p50", value=ms(creates.p50), unit="ms", floor=ms(floor.p50)),
        Figure(metric="create at half load, p99", value=ms(creates.p99), unit="ms", floor=ms(floor.p99), at_most=50),
        Figure(metric="create at half load, cores of others", value=used.others, unit="cores"),
    ]


async def measure_point(fleet: LoadedFleet, *, nodes: int, sessions: int) -> CurvePoint:
    """What a create costs in the fleet as it is. Its own sessions are closed again."""
    resting = await _rest(fleet)
    before = fleet.read()
    creates = await _paced(fleet, rate=CURVE_RATE)
    await fleet.drained()
    cpu = fleet.read().since(before).beyond(resting).each(creates.count)
    await fleet.close_down_to(sessions)
    await fleet.drained()
    return CurvePoint(
        nodes=nodes,
        sessions=sessions,
        session_api_cpu=ms(cpu[SESSION_API]),
        postgres_cpu=ms(cpu[POSTGRES]),
        p50=ms(creates.p50),
        p99=ms(creates.p99),
    )


def flatness(points: list[CurvePoint]) -> list[Figure]:
    """Return how much more a create costs in the whole fleet than in a small one, and with all sessions than few."""
    fewest, most = points[0].sessions, points[-1].sessions
    small, whole = points[0], next(p for p in points if p.nodes == points[-1].nodes and p.sessions == fewest)
    pairs = [
        (f"CPU of a create at {whole.nodes} nodes, against {small.nodes}", whole, small),
        (f"CPU of a create at {most} sessions, against {fewest}", points[-1], whole),
    ]
    return [
        Figure(
            metric=metric,
            value=(large.session_api_cpu + large.postgres_cpu) / (few.session_api_cpu + few.postgres_cpu),
            unit="",
            at_most=1.25,
        )
        for metric, large, few in pairs
    ]


async def _rest(fleet: LoadedFleet) -> Used:
    await fleet.quiet()
    before = fleet.read()
    await fleet.rest()
    return fleet.read().since(before)


async def _paced(fleet: LoadedFleet, *, rate: float) -> Timings:
    creates = await fleet.caller.ask(CreatePaced(rate=rate, within=fleet.window), Timings)
    if creates.failures:
        raise LoadFailed(f"creates failed: {creates.failures}")
    return creates
