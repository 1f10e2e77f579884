"""What must hold whatever the load was: nothing is lost, nothing is there twice."""

from tests.benchmarks.control.figures import Invariant
from tests.benchmarks.control.loaded_fleet import LoadedFleet
from tests.benchmarks.control.orders import CountNodes, CountSessions, NodeCensus
from tests.benchmarks.control.streams import streams

_MISCOUNTED = (
    "SELECT count(*) FROM fleet.node WHERE slots_used <> (SELECT count(*) FROM fleet.session"
    " WHERE session.node_id = node.id AND session.registration_id = node.registration_id AND end_time IS NULL)"
)
_CLOSED_AS_ASKED = "SELECT count(*) FROM fleet.session WHERE state = 'CLOSED' AND close_reason = 'USER_REQUESTED'"


async def check_open(fleet: LoadedFleet) -> list[Invariant]:
    """Look at the fleet while every session is open and every event is out."""
    made: frozenset[str] = await fleet.caller.ask(CountSessions(), frozenset)
    census = await fleet.nodes.ask(CountNodes(), NodeCensus)
    rows = await fleet.database.fetch("SELECT id, epoch FROM fleet.session WHERE state = 'RUNNING'")
    running, names = {(row["id"], row["epoch"]) for row in rows}, {row["id"] for row in rows}
    async with streams(fleet.servers.plan.nats) as news:
        scheduled = await news.scheduled()
    return [
        Invariant(name="sessions of the callers that run", expected=len(made), found=len(made & names)),
        Invariant(name="running sessions that nobody made", expected=0, found=len(names - made)),
        Invariant(name="running sessions with a browser", expected=len(running), found=len(running & census.browsers)),
        Invariant(name="browsers without a session", expected=0, found=len(census.browsers - running)),
        Invariant(name="running sessions with a deadline", expected=len(names), found=len(names & scheduled)),
        Invariant(name="nodes whose slots are miscounted", expected=0, found=await fleet.count(_MISCOUNTED)),
    ]


async def check_closed(fleet: LoadedFleet) -> list[Invariant]:
    """Look at the fleet when every session was closed and every event is out."""
    census = await fleet.nodes.ask(CountNodes(), NodeCensus)
    rows = await fleet.database.fetch("SELECT id, sequence FROM fleet.session")
    async with streams(fleet.servers.plan.nats) as news:
        published, scheduled = await news.sequences(), await news.scheduled()
    events = sum(len(sequences) for sequences in published.values())
    complete = sum(published.get(row["id"]) == list(range(1, row["sequence"] + 1)) for row in rows)
    return [
        Invariant(name="sessions that closed as asked", expected=len(rows), found=await fleet.count(_CLOSED_AS_ASKED)),
        Invariant(
            name="usage records", expected=len(rows), found=await fleet.count("SELECT count(*) FROM fleet.usage")
        ),
        Invariant(name="nodes with slots miscounted at the end", expected=0, found=await fleet.count(_MISCOUNTED)),
        Invariant(
            name="slots left taken", expected=0, found=await fleet.count("SELECT sum(slots_used) FROM fleet.node")
        ),
        Invariant(name="browsers left running", expected=0, found=len(census.browsers)),
        Invariant(name="heartbeats not answered", expected=0, found=census.failed),
        Invariant(name="nodes fenced", expected=0, found=census.fenced),
        Invariant(name="deadlines left scheduled", expected=0, found=len(scheduled)),
        Invariant(name="events on the stream", expected=sum(row["sequence"] for row in rows), found=events),
        Invariant(name="sessions with all events, in order", expected=len(rows), found=complete),
    ]
