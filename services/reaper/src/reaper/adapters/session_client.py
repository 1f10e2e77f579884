"""session-api behind the port."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.rpc.times import timestamp
from fleetkit.settings import Secret
from reaper.policy import SessionId, SessionView

_CALL_SECONDS = 10.0
_PAGE_SIZE = 200
_ENDED = frozenset({session_pb2.Session.STATE_CLOSED, session_pb2.Session.STATE_FAILED})
# Those that a deadline can end. The others have ended, are ending, or wait without a countdown.
_REAPED_STATES = (session_pb2.Session.STATE_STARTING, session_pb2.Session.STATE_RUNNING)


class GrpcSessionGateway:
    """Calls with a service key; every call has a deadline of its own."""

    def __init__(self, channel: grpc.aio.Channel, *, service_key: Secret) -> None:
        self._stub: session_service_pb2_grpc.SessionServiceAsyncStub = session_service_pb2_grpc.SessionServiceStub(
            channel
        )
        self._metadata = bearer(service_key.reveal())

    async def reap(self, session_id: SessionId) -> SessionView:
        request = session_service_pb2.ReapSessionRequest(session_id=session_id)
        with typed_errors():
            session = await self._stub.ReapSession(request, timeout=_CALL_SECONDS, metadata=self._metadata)
        return _view(session)

    async def overdue(self, *, before: datetime) -> AsyncIterator[SessionId]:
        sessions = session_service_pb2.SessionFilter(states=_REAPED_STATES, expire_before=timestamp(before))
        request = session_service_pb2.ListSessionsRequest(page_size=_PAGE_SIZE, filter=sessions)
        while True:
            with typed_errors():
                page = await self._stub.ListSessions(request, timeout=_CALL_SECONDS, metadata=self._metadata)
            for session in page.sessions:
                yield SessionId(session.id)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _view(session: session_pb2.Session) -> SessionView:
    expire_time = session.expire_time.ToDatetime(UTC) if session.HasField("expire_time") else None
    return SessionView(id=SessionId(session.id), open=session.state not in _ENDED, expire_time=expire_time)
