"""session-api's sessions behind the port."""

from collections.abc import AsyncIterator
from datetime import timedelta

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.clock import Clock
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.rpc.times import timestamp
from fleetkit.settings import Secret
from reaper.policy import SessionId

_CALL_SECONDS = 10.0
_PAGE_SIZE = 200
# session-api takes the earlier one of this instant and its database's clock, which alone decides what is due. With the
# present instant a reaper whose clock is minutes behind would find what is due minutes late.
_AHEAD = timedelta(days=1)
# All but the final ones. A session-api that does not know `due_before` lists them all, and reaps only what is due.
_STATES = (
    session_pb2.Session.STATE_QUEUED,
    session_pb2.Session.STATE_STARTING,
    session_pb2.Session.STATE_RUNNING,
    session_pb2.Session.STATE_CLOSING,
)


class GrpcSessionGateway:
    """Calls with a service key; every call has a deadline of its own."""

    def __init__(self, channel: grpc.aio.Channel, *, service_key: Secret, clock: Clock) -> None:
        self._stub: session_service_pb2_grpc.SessionServiceAsyncStub = session_service_pb2_grpc.SessionServiceStub(
            channel
        )
        self._metadata = bearer(service_key.reveal())
        self._clock = clock

    async def reap(self, session_id: SessionId) -> None:
        request = session_service_pb2.ReapSessionRequest(session_id=session_id)
        with typed_errors():
            await self._stub.ReapSession(request, timeout=_CALL_SECONDS, metadata=self._metadata)

    async def due(self) -> AsyncIterator[SessionId]:
        due = session_service_pb2.SessionFilter(states=_STATES, due_before=timestamp(self._clock.now() + _AHEAD))
        request = session_service_pb2.ListSessionsRequest(page_size=_PAGE_SIZE, filter=due)
        while True:
            with typed_errors():
                page = await self._stub.ListSessions(request, timeout=_CALL_SECONDS, metadata=self._metadata)
            for session in page.sessions:
                yield SessionId(session.id)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
