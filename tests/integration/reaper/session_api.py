"""A session-api in memory behind a real gRPC server, as far as the reaper calls it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from opentelemetry import trace

from browserfleet.node.v1 import node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.errors import FleetError, NotFound, Unauthenticated
from fleetkit.rpc.caller import bearer_token
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service
from tests.support.reaper_sessions import session_id
from tests.support.waiting import eventually

KEY = "bf_service"
Session = session_pb2.Session


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class FakeSessionApi:
    """Does what is due by its own clock. `failing` says which methods fail, or which sessions' reaping, and how."""

    due_times: dict[str, datetime] = field(default_factory=dict)
    reaped: dict[str, datetime] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    trace_ids: list[int] = field(default_factory=list)
    failing: dict[str, FleetError] = field(default_factory=dict)
    lists: int = 0
    node_passes: int = 0
    most_at_once: int = 0
    # Few, so that a sweep has to turn pages.
    longest_page: int = 2
    _running: int = 0

    def add(self, number: int, *, in_seconds: float) -> str:
        """Have something due for a session then."""
        name = session_id(number)
        self.due_times[name] = now() + timedelta(seconds=in_seconds)
        return name

    def lateness(self, name: str) -> timedelta:
        return self.reaped[name] - self.due_times[name]

    async def has_reaped(self, *numbers: int, within: float = 15) -> None:
        async def check() -> bool:
            return all(session_id(number) in self.reaped for number in numbers)

        await eventually(check, within=within, what=f"{len(numbers)} sessions are reaped")

    async def was_called(self, number: int, *, times: int = 1) -> None:
        async def check() -> bool:
            return self.calls.count(session_id(number)) >= times

        await eventually(check, within=15, what=f"session {number} was asked about {times} times")

    def services(self) -> list[Service]:
        reap, listing, nodes = (
            session_service_pb2.ReapSessionRequest,
            session_service_pb2.ListSessionsRequest,
            node_service_pb2.ReapNodesRequest,
        )
        return [
            _service(
                "browserfleet.session.v1.SessionService",
                ReapSession=grpc.unary_unary_rpc_method_handler(
                    self._reap_session, reap.FromString, Session.SerializeToString
                ),
                ListSessions=grpc.unary_unary_rpc_method_handler(
                    self._list_sessions,
                    listing.FromString,
                    session_service_pb2.ListSessionsResponse.SerializeToString,
                ),
            ),
            _service(
                "browserfleet.node.v1.NodeService",
                ReapNodes=grpc.unary_unary_rpc_method_handler(
                    self._reap_nodes, nodes.FromString, node_service_pb2.ReapNodesResponse.SerializeToString
                ),
            ),
        ]

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        if bearer_token(metadata) != KEY:
            raise Unauthenticated("Not the service key.")
        return KEY

    async def _reap_session(self, request: session_service_pb2.ReapSessionRequest, context: Context) -> Session:
        self.calls.append(request.session_id)
        self.trace_ids.append(trace.get_current_span().get_span_context().trace_id)
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        self._fail("ReapSession", request.session_id)
        if request.session_id not in self.due_times:
            raise NotFound("There is no such session.")
        if self.due_times[request.session_id] <= now():
            self.reaped.setdefault(request.session_id, now())
        return Session(id=request.session_id)

    async def _list_sessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        self.lists += 1
        self._fail("ListSessions")
        assert set(request.filter.states) == {
            Session.STATE_QUEUED,
            Session.STATE_STARTING,
            Session.STATE_RUNNING,
            Session.STATE_CLOSING,
        }
        page = self._due(request.filter.due_before.ToDatetime(UTC), after=request.page_token)
        size = min(self.longest_page, request.page_size)
        return session_service_pb2.ListSessionsResponse(
            sessions=[Session(id=name) for name in page[:size]],
            next_page_token=page[size - 1] if len(page) > size else "",
        )

    async def _reap_nodes(
        self, request: node_service_pb2.ReapNodesRequest, context: Context
    ) -> node_service_pb2.ReapNodesResponse:
        self.node_passes += 1
        self._fail("ReapNodes")
        return node_service_pb2.ReapNodesResponse(lost_count=1)

    def _due(self, before: datetime, *, after: str) -> list[str]:
        before = min(before, now())
        due = (name for name, time in self.due_times.items() if time < before and name not in self.reaped)
        return sorted(name for name in due if name > after)

    def _fail(self, *causes: str) -> None:
        for cause in causes:
            if cause in self.failing:
                raise self.failing[cause]


def _service(name: str, **handlers: "grpc.RpcMethodHandler[Any, Any]") -> Service:  # generic in its stub alone
    # The whole servicers have many more methods, which nobody calls here.
    generic = grpc.method_handlers_generic_handler(name, handlers)
    return Service(name, lambda server: server.add_generic_rpc_handlers((generic,)))
