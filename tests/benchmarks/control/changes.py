"""How long a watcher waits for the news of a change."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from datetime import timedelta

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from tests.benchmarks.control.orders import Watch, WatchReport
from tests.benchmarks.control.timings import WrongAnswer, paced, percentile

_CALL_SECONDS = 30.0
_LAST_NEWS_WITHIN = timedelta(seconds=5)
_SNAPSHOT_WITHIN = timedelta(seconds=60)
_HOLDER = "load-driver"

Metadata = tuple[tuple[str, str], ...]


class Watcher:
    """Notes when the news of each change came. `ready` is set when all that was there before has come."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        # By session: seconds from the change, by the database's clock on this same machine, to its news.
        self.lags: dict[str, float] = {}

    async def watch(self, sessions: session_service_pb2_grpc.SessionServiceAsyncStub, metadata: Metadata) -> None:
        async for news in sessions.WatchSessions(session_service_pb2.WatchSessionsRequest(), metadata=metadata):
            arrival = time.time()
            if news.type == session_service_pb2.WatchSessionsResponse.TYPE_BOOKMARK:
                self.ready.set()
            elif news.session.occupancy.holder_id == _HOLDER and self.ready.is_set():
                occupy_time = news.session.occupancy.occupy_time.ToNanoseconds() / 1e9
                self.lags.setdefault(news.session.id, arrival - occupy_time)


async def watch_changes(
    sessions: session_service_pb2_grpc.SessionServiceAsyncStub,
    metadata: Metadata,
    session_ids: Sequence[str],
    order: Watch,
) -> WatchReport:
    """Occupy each session at most once, at the order's pace, beside a watcher."""
    watcher, turns = Watcher(), itertools.count()
    changed: set[str] = set()

    async def occupy() -> None:
        session_id = session_ids[next(turns)]
        request = session_service_pb2.OccupySessionRequest(
            session_id=session_id, holder_kind=session_pb2.HOLDER_KIND_TASK, holder_id=_HOLDER
        )
        await sessions.OccupySession(request, metadata=metadata, timeout=_CALL_SECONDS)
        changed.add(session_id)

    watching = asyncio.create_task(watcher.watch(sessions, metadata))
    try:
        async with asyncio.timeout(_SNAPSHOT_WITHIN.total_seconds()):
            await watcher.ready.wait()
        timings = await paced(occupy, rate=order.rate, within=order.within, total=len(session_ids))
        if timings.failures:
            raise WrongAnswer(f"sessions could not be occupied: {timings.failures}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_NEWS_WITHIN.total_seconds()):
                while changed - watcher.lags.keys():
                    await asyncio.sleep(0.01)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await watching
    lags = sorted(watcher.lags[session_id] for session_id in changed & watcher.lags.keys())
    return WatchReport(
        changes=len(changed),
        missed=len(changed - watcher.lags.keys()),
        p50=percentile(lags, 0.5),
        p99=percentile(lags, 0.99),
    )
