"""BrowserService: session-api starts and stops browsers here."""

from google.protobuf import empty_pb2

from browser_node.domain.browser import SessionId
from browser_node.rpc.convert import browser_to_proto, order_from_proto, reason_from_proto
from browser_node.usecases.browsers import Browsers
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import browser_service_pb2, browser_service_pb2_grpc
from fleetkit.rpc.context import Context
from fleetkit.telemetry import inject_headers, log_context


class BrowserServicer(browser_service_pb2_grpc.BrowserServiceServicer):
    def __init__(self, browsers: Browsers) -> None:
        self._browsers = browsers

    async def StartBrowser(
        self, request: browser_service_pb2.StartBrowserRequest, context: Context
    ) -> browser_pb2.Browser:
        with log_context(session_id=request.session_id):
            facts = await self._browsers.start(order_from_proto(request, inject_headers()))
            return browser_to_proto(request.session_id, request.epoch, facts)

    async def StopBrowser(self, request: browser_service_pb2.StopBrowserRequest, context: Context) -> empty_pb2.Empty:
        with log_context(session_id=request.session_id):
            reason = reason_from_proto(request.close_reason)
            await self._browsers.stop(SessionId(request.session_id), request.epoch, reason)
            return empty_pb2.Empty()

    async def SetDeadline(self, request: browser_service_pb2.SetDeadlineRequest, context: Context) -> empty_pb2.Empty:
        with log_context(session_id=request.session_id):
            remaining = request.remaining.ToTimedelta()
            self._browsers.set_deadline(SessionId(request.session_id), request.epoch, remaining)
            return empty_pb2.Empty()

    async def SetControl(self, request: browser_service_pb2.SetControlRequest, context: Context) -> empty_pb2.Empty:
        with log_context(session_id=request.session_id):
            session_id = SessionId(request.session_id)
            self._browsers.set_control(session_id, request.epoch, request.generation, held=request.held)
            return empty_pb2.Empty()
