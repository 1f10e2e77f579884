"""An internal service that creates, reads and closes sessions: a driver process at the gRPC front door."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.rpc.client import bearer
from tests.benchmarks.control.changes import watch_changes
from tests.benchmarks.control.orders import (
    Close,
    CountSessions,
    Create,
    CreatePaced,
    Get,
    List,
    Watch,
)
from tests.benchmarks.control.pipe import answer_orders, run_driver
from tests.benchmarks.control.timings import Timings, WrongAnswer, in_flight, paced

_CALL_SECONDS = 30.0
_CLOSING = timedelta(minutes=10)


class Caller:
    """Holds one API key; remembers the sessions that it made, the newest last."""

    def __init__(self, addresses: Sequence[str], key: str) -> None:
        # A fixed list of addresses: no name is looked up.
        target = f"ipv4:{','.join(addresses)}"
        balanced = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
        self.channel = grpc.aio.insecure_channel(
            target, options=[("grpc.service_config", balanced), ("grpc.max_receive_message_length", 16 * 1024 * 1024)]
        )
        self.sessions: session_service_pb2_grpc.SessionServiceAsyncStub = session_service_pb2_grpc.SessionServiceStub(
            self.channel
        )
        self.metadata = bearer(key)
        self.open: list[str] = []

    async def handle(self, order: object) -> object:
        match order:
            case Create():
                return await in_flight(self._create, at_once=order.at_once, within=order.within, total=order.total)
            case CreatePaced():
                return await paced(self._create, rate=order.rate, within=order.within)
            case Close():
                return await self._close(order)
            case CountSessions():
                return frozenset(self.open)
            case Get():
                return await self._get(order)
            case List():
                return await self._list(order)
            case Watch():
                return await watch_changes(self.sessions, self.metadata, self.open, order)
        raise ValueError(f"the caller does not know {order}")

    async def _create(self) -> None:
        request = session_service_pb2.CreateSessionRequest(request_id=secrets.token_urlsafe(18))
        session = await self.sessions.CreateSession(request, metadata=self.metadata, timeout=_CALL_SECONDS)
        self.open.append(session.id)
        if session.state != session_pb2.Session.STATE_RUNNING or not session.attach.direct_url:
            raise WrongAnswer(f"created {session_pb2.Session.State.Name(session.state)}")

    async def _close(self, order: Close) -> Timings:
        closing, self.open = self.open[order.left :], self.open[: order.left]

        async def close() -> None:
            request = session_service_pb2.CloseSessionRequest(session_id=closing.pop())
            session = await self.sessions.CloseSession(request, metadata=self.metadata, timeout=_CALL_SECONDS)
            if session.state != session_pb2.Session.STATE_CLOSED:
                raise WrongAnswer(f"closed {session_pb2.Session.State.Name(session.state)}")

        return await in_flight(close, at_once=order.at_once, within=_CLOSING, total=len(closing))

    async def _get(self, order: Get) -> Timings:
        turns = itertools.cycle(self.open)

        async def get() -> None:
            request = session_service_pb2.GetSessionRequest(session_id=next(turns))
            await self.sessions.GetSession(request, metadata=self.metadata, timeout=_CALL_SECONDS)

        return await in_flight(get, at_once=order.at_once, within=order.within)

    async def _list(self, order: List) -> Timings:
        request = session_service_pb2.ListSessionsRequest(page_size=order.page_size)
        request.filter.states.append(session_pb2.Session.STATE_RUNNING)
        wanted = min(order.page_size, len(self.open))

        async def list_once() -> None:
            answer = await self.sessions.ListSessions(request, metadata=self.metadata, timeout=_CALL_SECONDS)
            if len(answer.sessions) != wanted:
                raise WrongAnswer(f"listed {len(answer.sessions)} sessions, not {wanted}")

        return await in_flight(list_once, at_once=order.at_once, within=order.within)


async def main(arguments: Sequence[str]) -> None:
    key_file, *addresses = arguments
    caller = Caller(addresses, await asyncio.to_thread(lambda: Path(key_file).read_text().strip()))
    async with caller.channel:
        await answer_orders(caller.handle)


if __name__ == "__main__":
    run_driver(main)
