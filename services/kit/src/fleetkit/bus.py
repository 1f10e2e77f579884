"""NATS JetStream: a connection that never gives up, and the streams of the suite.

Events are news: published at least once, read by consumers that bear duplicates. Deadlines are scheduled messages:
published to `schedule.session.<id>`, the server delivers them to `due.session.<id>` at their time; publishing again
moves the deadline, purging the subject cancels it. Dead letters are messages that a consumer could not act on, kept on
`dead.v1.<consumer>.<original subject>` for people to look at.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from fleetkit.settings import Secret

log = logging.getLogger(__name__)

EVENTS_STREAM = "FLEET_EVENTS"
DEADLINES_STREAM = "FLEET_DEADLINES"
DEAD_LETTERS_STREAM = "FLEET_DEAD_LETTERS"

_DAY_SECONDS = 24 * 3600.0
_WEEK_SECONDS = 7 * _DAY_SECONDS
_STREAMS = (
    StreamConfig(
        name=EVENTS_STREAM,
        subjects=["fleet.v1.>"],
        storage=StorageType.FILE,
        max_age=_WEEK_SECONDS,
        duplicate_window=120.0,
    ),
    StreamConfig(
        name=DEADLINES_STREAM,
        subjects=["schedule.>", "due.>"],
        storage=StorageType.FILE,
        max_age=_WEEK_SECONDS,
        allow_msg_ttl=True,
        allow_msg_schedules=True,
    ),
)
_DEAD_LETTERS = StreamConfig(
    name=DEAD_LETTERS_STREAM,
    subjects=["dead.v1.>"],
    storage=StorageType.FILE,
    max_age=30 * _DAY_SECONDS,
    max_bytes=256 * 1024 * 1024,
    duplicate_window=120.0,
)


@contextlib.asynccontextmanager
async def connect_bus(url: str, token: Secret | None, *, name: str) -> AsyncIterator[Client]:
    """Connect within the block, reconnecting for ever; raises an error of `nats.errors` when the first try fails."""

    leaving = asyncio.Event()

    async def on_error(error: Exception) -> None:
        log.warning("NATS: %s", error)

    async def on_disconnect() -> None:
        if not leaving.is_set():
            log.warning("NATS: disconnected")

    async def on_reconnect() -> None:
        log.info("NATS: connected again")

    client = await nats.connect(
        url,
        name=name,
        token=token.reveal() if token else None,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
        connect_timeout=5,
        ping_interval=10,
        max_outstanding_pings=2,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
    )
    try:
        yield client
    finally:
        leaving.set()
        with contextlib.suppress(Exception):
            await client.close()


async def ensure_streams(stream: JetStreamContext) -> None:
    """Create the suite's streams where they are missing; streams that an operator shaped otherwise stay as they are."""
    for config in _STREAMS:
        await _ensure(stream, config)
    try:
        await _ensure(stream, _DEAD_LETTERS)
    except nats.errors.Error as error:
        # Its size is set aside when it is made, and a small server may not have it: the rest works without.
        log.warning("NATS: no stream for dead letters: %s", error)


async def _ensure(stream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await stream.add_stream(config)
    except BadRequestError as error:
        # 10058: the name is in use with another configuration.
        if error.err_code != 10058:
            raise


def schedule_headers(*, due_time: datetime, target: str) -> dict[str, str]:
    """Return the headers that make JetStream deliver a message to `target` at `due_time`."""
    at = due_time.astimezone(UTC).strftime("@at %Y-%m-%dT%H:%M:%S.%fZ")
    return {Header.SCHEDULE.value: at, Header.SCHEDULE_TARGET.value: target}
