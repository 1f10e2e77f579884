"""What nodes cost: heartbeats as fast as they go, and the whole fleet at rest."""

from tests.benchmarks.control.figures import Figure
from tests.benchmarks.control.floors import Floors, ms
from tests.benchmarks.control.loaded_fleet import AT_ONCE, NATS, POSTGRES, REAPER, SESSION_API, LoadedFleet
from tests.benchmarks.control.orders import Beat, CountNodes, NodeCensus
from tests.benchmarks.control.readings import megabytes, sockets
from tests.benchmarks.control.timings import Timings

_MOST_MEGABYTES = 1.5 * 1024


async def measure_heartbeats(fleet: LoadedFleet, floors: Floors) -> list[Figure]:
    """Heartbeats that report what runs, as fast as they are answered."""
    await fleet.quiet()
    census, before = await fleet.nodes.ask(CountNodes(), NodeCensus), fleet.read()
    beats = await fleet.nodes.ask(Beat(at_once=AT_ONCE, within=fleet.window), Timings)
    used, after = fleet.read().since(before), await fleet.nodes.ask(CountNodes(), NodeCensus)
    # Those that came in their time are among them.
    count = after.heartbeats - census.heartbeats
    seconds = beats.elapsed.total_seconds()
    cpu = used.each(count)
    return [
        Figure(metric="heartbeats, most", value=count / seconds, unit="/s", floor=floors.kit.flood.rate, at_least=2000),
        Figure(metric="heartbeats, most, p99", value=ms(beats.p99), unit="ms"),
        Figure(
            metric="heartbeat, CPU of session-api",
            value=ms(cpu[SESSION_API]),
            unit="ms",
            floor=ms(floors.kit.server_cpu),
        ),
        Figure(metric="heartbeat, CPU of postgres", value=ms(cpu[POSTGRES]), unit="ms"),
        Figure(metric="heartbeats, most, cores of others", value=used.others, unit="cores"),
    ]


async def measure_rest(fleet: LoadedFleet) -> list[Figure]:
    """What every open session and every node cost while nothing happens but heartbeats."""
    await fleet.quiet()
    before = fleet.read()
    await fleet.rest(3 * fleet.window)
    used = fleet.read().since(before)
    services = [*fleet.session_api, fleet.reaper]
    memory = {SESSION_API: sum(megabytes(process) for process in fleet.session_api), REAPER: megabytes(fleet.reaper)}
    cores = {part: used.cores(part) for part in (SESSION_API, REAPER, POSTGRES, NATS)}
    return [
        *(Figure(metric=f"at rest, {part}", value=value, unit="cores") for part, value in cores.items()),
        Figure(metric="at rest, control plane", value=cores[SESSION_API] + cores[REAPER], unit="cores", at_most=1),
        Figure(metric="at rest, cores of others", value=used.others, unit="cores"),
        *(Figure(metric=f"memory of {part}", value=value, unit="MB") for part, value in memory.items()),
        Figure(
            metric="memory of the control plane",
            value=sum(memory.values()),
            unit="MB",
            at_most=_MOST_MEGABYTES,
        ),
        Figure(metric="sockets of session-api", value=sum(sockets(process) for process in fleet.session_api), unit=""),
        Figure(metric="threads of the control plane", value=sum(p.num_threads() for p in services), unit=""),
    ]
