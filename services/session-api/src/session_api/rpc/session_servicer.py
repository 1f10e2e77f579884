"""SessionService."""

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.paging import PageTokens
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.context import Context
from fleetkit.telemetry import log_context
from session_api.domain.caller import Caller
from session_api.domain.session import Session, SessionId
from session_api.rpc.convert import new_session, query_of, session_to_proto
from session_api.usecases.attaching import Attaching
from session_api.usecases.sessions import Sessions


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(self, *, sessions: Sessions, attaching: Attaching, page_tokens: PageTokens) -> None:
        self._sessions = sessions
        self._attaching = attaching
        self._page_tokens = page_tokens

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.Session:
        session = await self._sessions.create(current_caller(Caller), new_session(request))
        return self._with_attach(session)

    async def GetSession(self, request: session_service_pb2.GetSessionRequest, context: Context) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._sessions.get(current_caller(Caller), SessionId(request.session_id))
            return self._with_attach(session)

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        query = query_of(request, current_caller(Caller))
        wanted = self._page_tokens.request(
            page_size=request.page_size, page_token=request.page_token, query=repr(query)
        )
        page = await self._sessions.list(query, wanted)
        return session_service_pb2.ListSessionsResponse(
            sessions=[session_to_proto(session, cdp_url=self._attaching.cdp_url(session.id)) for session in page.items],
            next_page_token=self._page_tokens.token(page, query=repr(query)),
        )

    async def ExtendSession(
        self, request: session_service_pb2.ExtendSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._sessions.extend(
                current_caller(Caller), SessionId(request.session_id), by=request.additional_time.ToTimedelta()
            )
            return self._with_attach(session)

    async def CloseSession(
        self, request: session_service_pb2.CloseSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._sessions.close(current_caller(Caller), SessionId(request.session_id))
            return self._with_attach(session)

    async def ReapSession(
        self, request: session_service_pb2.ReapSessionRequest, context: Context
    ) -> session_pb2.Session:
        with log_context(session_id=request.session_id):
            session = await self._sessions.reap(SessionId(request.session_id))
            return session_to_proto(session, cdp_url=self._attaching.cdp_url(session.id))

    def _with_attach(self, session: Session) -> session_pb2.Session:
        return session_to_proto(
            session, cdp_url=self._attaching.cdp_url(session.id), attach=self._attaching.endpoint(session)
        )
