"""The example consumer of docs/events.md, as it is printed there."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from nats.aio.client import Client

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import EVENTS_STREAM
from local_stack.servers.nats import RunningNats
from tests.support.reaper_sessions import session_id

_PAGE = Path(__file__).parents[3] / "docs" / "events.md"
NAME = session_id(1)


@contextlib.asynccontextmanager
async def _running(nats: RunningNats) -> AsyncIterator[asyncio.StreamReader]:
    """Run the example within the block and yield what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", await asyncio.to_thread(_PAGE.read_text), re.DOTALL)
    assert len(code.splitlines()) <= 25
    environment = {**os.environ, "NATS_URL": nats.url, "NATS_TOKEN": nats.token}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", code, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def _publish(bus: Client, sequence: int, what: str, *, more: bytes = b"") -> None:
    event = session_event_pb2.SessionEvent(session_id=NAME, sequence=sequence, type=what)
    await bus.jetstream().publish(f"fleet.v1.session.{NAME}.{what}", event.SerializeToString() + more)


async def test_the_example_prints_each_event_once_and_bears_a_newer_schema(nats: RunningNats, bus: Client) -> None:
    await _publish(bus, 1, "created")
    await _publish(bus, 1, "created")
    await _publish(bus, 2, "of_the_future", more=b"\xfa\x07\x03abc")
    await _publish(bus, 3, "closed")
    async with asyncio.timeout(30), _running(nats) as output:
        lines = [(await output.readline()).decode().split() for _ in range(3)]
    assert lines == [[NAME, "1", "created"], [NAME, "2", "of_the_future"], [NAME, "3", "closed"]]
    assert (await bus.jetstream().stream_info(EVENTS_STREAM)).state.messages == 4
