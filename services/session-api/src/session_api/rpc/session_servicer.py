"""SessionService."""

from collections.abc import AsyncIterator

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.paging import PageTokens
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.context import Context
from fleetkit.telemetry import log_context
from session_api.domain.caller import Caller
from session_api.domain.identifiers import SessionId
from session_api.domain.leases import DEFAULT_CONTROL_TIMEOUT
from session_api.domain.session import Session, SessionState
from session_api.rpc.session_messages import (
    endpoint_to_proto,
    grant_of,
    holder_kind,
    new_session,
    news_type,
    query_of,
    session_to_proto,
    waiting_time,
)
from session_api.usecases.attaching import Attaching
from session_api.usecases.dispatching import Dispatching
from session_api.usecases.leasing import Leasing
from session_api.usecases.reaping import Reaping
from session_api.usecases.sessions import Sessions
from session_api.usecases.watching import Watching


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        leasing: Leasing,
        reaping: Reaping,
        watching: Watching,
        dispatching: Dispatching,
        attaching: Attaching,
        page_tokens: PageTokens,
    ) -> None:
        self._sessions = sessions
        self._leasing = leasing
        self._reaping = reaping
        self._watching = watching
        self._dispatching = dispatching
        self._attaching = attaching
        self._page_tokens = page_tokens

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.Session:
        wait = waiting_time(request, context.time_remaining())
        session = await self._sessions.create(current_caller(Caller), new_session(request), wait=wait)
        return await self._whole(session)

    async def GetSession(self, request: session_service_pb2.GetSessionRequest, context: Context) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            return await self._whole(await self._sessions.get(current_caller(Caller), SessionId(request.session_id)))

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        query = query_of(request.filter, current_caller(Caller), order_by=request.order_by)
        wanted = self._page_tokens.request(
            page_size=request.page_size, page_token=request.page_token, query=repr(query)
        )
        page = await self._sessions.list(query, wanted)
        return session_service_pb2.ListSessionsResponse(
            sessions=[self._listed(session) for session in page.items],
            next_page_token=self._page_tokens.token(page, query=repr(query)),
        )

    async def WatchSessions(
        self, request: session_service_pb2.WatchSessionsRequest, context: Context
    ) -> AsyncIterator[session_service_pb2.WatchSessionsResponse]:
        caller = current_caller(Caller)
        async for item in self._watching.watch(caller, query_of(request.filter, caller), request.resume_token):
            yield session_service_pb2.WatchSessionsResponse(
                type=news_type(item.kind),
                session=self._listed(item.session) if item.session else None,
                resume_token=item.resume_token,
            )

    async def ExtendSession(
        self, request: session_service_pb2.ExtendSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._sessions.extend(
                current_caller(Caller), SessionId(request.session_id), by=request.additional_time.ToTimedelta()
            )
            return await self._whole(session)

    async def CloseSession(
        self, request: session_service_pb2.CloseSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            return await self._whole(await self._sessions.close(current_caller(Caller), SessionId(request.session_id)))

    async def OccupySession(
        self, request: session_service_pb2.OccupySessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._leasing.occupy(
                current_caller(Caller),
                SessionId(request.session_id),
                kind=holder_kind(request.holder_kind),
                holder_id=request.holder_id,
                ttl=request.ttl.ToTimedelta() if request.HasField("ttl") else None,
            )
            return await self._whole(session)

    async def ReleaseSession(
        self, request: session_service_pb2.ReleaseSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session_id = SessionId(request.session_id)
            return await self._whole(
                await self._leasing.release(current_caller(Caller), session_id, generation=request.generation)
            )

    async def TakeControl(
        self, request: session_service_pb2.TakeControlRequest, context: Context
    ) -> session_pb2.Session:
        ttl = request.idle_timeout.ToTimedelta() if request.HasField("idle_timeout") else DEFAULT_CONTROL_TIMEOUT
        with log_context(session_id=request.session_id):
            session = await self._leasing.take_control(
                current_caller(Caller),
                SessionId(request.session_id),
                holder=request.holder,
                ttl=ttl,
                take_over=request.take_over,
            )
            return await self._whole(session)

    async def ReleaseControl(
        self, request: session_service_pb2.ReleaseControlRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session_id = SessionId(request.session_id)
            return await self._whole(
                await self._leasing.release_control(current_caller(Caller), session_id, generation=request.generation)
            )

    async def CreateAttachEndpoint(
        self, request: session_service_pb2.CreateAttachEndpointRequest, context: Context
    ) -> session_pb2.AttachEndpoint:
        with log_context(session_id=request.session_id):
            endpoint = await self._attaching.granted(
                current_caller(Caller),
                SessionId(request.session_id),
                grant_of(request),
                ttl=request.ttl.ToTimedelta() if request.HasField("ttl") else None,
            )
            return endpoint_to_proto(endpoint)

    async def ReapSession(
        self, request: session_service_pb2.ReapSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            return self._listed(await self._reaping.reap(SessionId(request.session_id)))

    async def _whole(self, session: Session) -> session_pb2.Session:
        """Return a session with its addresses while it runs, and its place while it waits."""
        place = await self._dispatching.place_of(session) if session.state is SessionState.QUEUED else None
        return session_to_proto(
            session,
            cdp_url=self._attaching.cdp_url(session.id),
            attach=self._attaching.endpoint(session),
            place=place,
        )

    def _listed(self, session: Session) -> session_pb2.Session:
        return session_to_proto(session, cdp_url=self._attaching.cdp_url(session.id))
