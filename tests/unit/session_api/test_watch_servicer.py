"""WatchSessions over a channel: what a client reads, and what becomes of one that leaves."""

import contextlib
from collections.abc import AsyncIterator

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.support.fleet_builders import a_session
from tests.support.waiting import eventually
from tests.unit.session_api.entry import Entry, Metadata
from tests.unit.session_api.messages import reason_of, retry_after
from tests.unit.session_api.refusals import refusal_of

News = session_service_pb2.WatchSessionsResponse


@contextlib.asynccontextmanager
async def _watching(
    entry: Entry,
    *,
    token: str = "",
    narrow: session_service_pb2.SessionFilter | None = None,
    key: Metadata | None = None,
) -> AsyncIterator[AsyncIterator[News]]:
    request = session_service_pb2.WatchSessionsRequest(filter=narrow, resume_token=token)
    call = entry.door.sessions.WatchSessions(request, metadata=key or entry.member, timeout=60)
    try:
        yield aiter(call)
    finally:
        call.cancel()


async def _batch(news: AsyncIterator[News]) -> tuple[list[tuple[News.Type.ValueType, str]], str]:
    """Read up to the next bookmark; return what came of which session, and the bookmark."""
    found = []
    while (item := await anext(news)).type != News.TYPE_BOOKMARK:
        found.append((item.type, item.session.id))
    assert not item.HasField("session")
    return found, item.resume_token


async def _first(entry: Entry, *, token: str = "", narrow: session_service_pb2.SessionFilter | None = None) -> News:
    async with _watching(entry, token=token, narrow=narrow) as news:
        return await anext(news)


async def _first_or_none(entry: Entry) -> News | None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        return await _first(entry)
    return None


async def test_a_watch_sends_a_snapshot_then_changes_then_what_left(entry: Entry) -> None:
    narrow = session_service_pb2.SessionFilter(states=[session_pb2.Session.STATE_RUNNING])
    async with _watching(entry, narrow=narrow) as news:
        found, _ = await _batch(news)
        assert found == [(News.TYPE_SNAPSHOT, entry.running)]
        await entry.close(entry.running)
        found, token = await _batch(news)
        assert (News.TYPE_LEFT, entry.running) in found
    new = await entry.a_session()
    async with _watching(entry, token=token, narrow=narrow) as news:
        found, _ = await _batch(news)
    assert (News.TYPE_CHANGED, new.id) in found
    assert not any(kind == News.TYPE_SNAPSHOT for kind, _ in found)


async def test_a_watched_session_has_no_addresses_with_tokens(entry: Entry) -> None:
    item = await _first(entry)
    assert item.session.cdp_url == f"http://edge.test/attach/{item.session.id}"
    assert not item.session.HasField("attach")


async def test_a_token_is_good_for_its_own_filter_and_organization(entry: Entry) -> None:
    async with _watching(entry) as news:
        _, token = await _batch(news)
    narrow = session_service_pb2.SessionFilter(labels={"a": "b"})
    refusals = [await refusal_of(_first(entry, token=token, narrow=narrow))]
    async with _watching(entry, token=token, key=entry.stranger) as news:
        refusals.append(await refusal_of(anext(news)))
    assert [(row.code().name, reason_of(row)) for row in refusals] == [("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN")] * 2


async def test_the_101st_watch_is_refused_until_another_one_ends(entry: Entry) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            await anext(await stack.enter_async_context(_watching(entry)))
        refusal = await refusal_of(_first(entry))
        assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHES")
        async with _watching(entry, key=entry.stranger) as news:
            await anext(news)
    await eventually(lambda: _first_or_none(entry), within=10, what="a watch after others have ended")


async def test_a_replica_that_stops_sends_its_watchers_to_another_one(entry: Entry) -> None:
    async with _watching(entry) as news:
        await _batch(news)
        entry.fleet.plane.hub.stop()
        refusal = await refusal_of(anext(news))
    assert (refusal.code().name, reason_of(refusal)) == ("UNAVAILABLE", "SERVICE_STOPPING")
    assert retry_after(refusal) is not None


async def test_watchers_that_go_away_amid_the_snapshot_leave_room_for_others(entry: Entry) -> None:
    entry.fleet.database.put(*(a_session() for _ in range(200)))
    for _ in range(110):
        await eventually(lambda: _first_or_none(entry), within=10, what="room for a watch")
