"""What is on NATS: the events of every session, and the deadlines that are scheduled."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from nats.js import JetStreamContext

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM, EVENTS_STREAM, connect_bus
from fleetkit.settings import Secret
from local_stack.servers.nats import NatsServer

_EVENTS = "fleet.v1.session.>"
_SCHEDULES = "schedule.session."
_NEXT_WITHIN_SECONDS = 10.0


class Streams:
    """Reads the suite's streams from their beginning."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def sequences(self) -> dict[str, list[int]]:
        """Return the sequence numbers of each session's events, in the order in which they were published."""
        published: dict[str, list[int]] = defaultdict(list)
        info = await self._stream.stream_info(EVENTS_STREAM, subjects_filter=_EVENTS)
        left = sum((info.state.subjects or {}).values())
        events = await self._stream.subscribe(_EVENTS, stream=EVENTS_STREAM, ordered_consumer=True)
        while left:
            message = await events.next_msg(timeout=_NEXT_WITHIN_SECONDS)
            event = session_event_pb2.SessionEvent.FromString(message.data)
            published[event.session_id].append(event.sequence)
            left = message.metadata.num_pending
        await events.unsubscribe()
        return published

    async def scheduled(self) -> set[str]:
        """Return the sessions that have a deadline scheduled."""
        info = await self._stream.stream_info(DEADLINES_STREAM, subjects_filter=f"{_SCHEDULES}>")
        return {subject.removeprefix(_SCHEDULES) for subject in info.state.subjects or {}}


@contextlib.asynccontextmanager
async def streams(server: NatsServer) -> AsyncIterator[Streams]:
    """Connect within the block."""
    async with connect_bus(server.url, Secret(server.token), name="load-check") as client:
        yield Streams(client.jetstream())
