"""What callers and operators do with the fleet beside attaching: waiting, watching, emptying nodes, counting."""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import grpc
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.node.v1 import node_pb2, node_service_pb2, node_service_pb2_grpc
from browserfleet.organization.v1 import (
    organization_pb2,
    organization_service_pb2,
    organization_service_pb2_grpc,
)
from browserfleet.session.v1 import session_pb2, session_service_pb2
from browserfleet.usage.v1 import usage_service_pb2, usage_service_pb2_grpc
from fleetkit.rpc.client import bearer
from tests.support.stack import Caller, RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

_NO_WAIT = session_service_pb2.CreateSessionRequest.WAIT_NONE


@dataclass(frozen=True, slots=True)
class Operator:
    """The front door, with a key of the service scope."""

    nodes: node_service_pb2_grpc.NodeServiceAsyncStub
    organizations: organization_service_pb2_grpc.OrganizationServiceAsyncStub
    usage: usage_service_pb2_grpc.UsageServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]

    async def node_named(self, name: str) -> node_pb2.Node:
        answer = await self.nodes.ListNodes(node_service_pb2.ListNodesRequest(), metadata=self.metadata, timeout=10)
        return next(node for node in answer.nodes if node.name == name)

    async def uncordon(self, node_id: str) -> node_pb2.Node:
        request = node_service_pb2.UncordonNodeRequest(node_id=node_id)
        return await self.nodes.UncordonNode(request, metadata=self.metadata, timeout=10)

    async def organization(self, organization_id: str, *, max_open_sessions: int | None = None) -> None:
        limits = organization_pb2.Limits(max_open_sessions=max_open_sessions)
        organization = organization_pb2.Organization(limits=limits)
        request = organization_service_pb2.CreateOrganizationRequest(
            organization_id=organization_id, organization=organization
        )
        await self.organizations.CreateOrganization(request, metadata=self.metadata, timeout=10)

    async def new_key(self, organization_id: str) -> organization_service_pb2.CreateApiKeyResponse:
        request = organization_service_pb2.CreateApiKeyRequest(
            organization_id=organization_id, scope=organization_pb2.SCOPE_MEMBER
        )
        return await self.organizations.CreateApiKey(request, metadata=self.metadata, timeout=10)


@contextlib.asynccontextmanager
async def an_operator(stack: RunningStack) -> AsyncIterator[Operator]:
    key = await stack.key("o_operator", scope="service")
    async with grpc.aio.insecure_channel(stack.local.grpc_address) as channel:
        yield Operator(
            nodes=node_service_pb2_grpc.NodeServiceStub(channel),
            organizations=organization_service_pb2_grpc.OrganizationServiceStub(channel),
            usage=usage_service_pb2_grpc.UsageServiceStub(channel),
            metadata=bearer(key),
        )


async def _ended(caller: Caller, session_id: str, *, within: float) -> session_pb2.Session:
    async def ended() -> session_pb2.Session | None:
        session = await caller.get(session_id)
        return session if session.end_time.seconds else None

    return await eventually(ended, within=within, what="the session ends")


async def test_a_second_session_waits_until_the_quota_lets_it_in_and_both_are_metered_once(
    stack: RunningStack,
) -> None:
    async with an_operator(stack) as operator:
        await operator.organization("o_frugal", max_open_sessions=1)
        key = (await operator.new_key("o_frugal")).secret
        async with stack.caller(key) as caller:
            first = await caller.create()
            request = session_service_pb2.CreateSessionRequest(wait=_NO_WAIT)
            queued = await caller.sessions.CreateSession(request, metadata=caller.metadata, timeout=10)
            assert queued.state == session_pb2.Session.STATE_QUEUED
            assert (queued.queue.position, queued.queue.reason) == (1, session_pb2.QUEUE_REASON_QUOTA)
            await caller.close(first.id)

            async def up() -> bool:
                return (await caller.get(queued.id)).state == session_pb2.Session.STATE_RUNNING

            await eventually(up, within=10, what="the queued session gets its turn")
            await caller.close(queued.id)
        used = usage_service_pb2.ListUsageRecordsRequest()
        used.filter.organization_id = "o_frugal"
        records = (await operator.usage.ListUsageRecords(used, metadata=operator.metadata, timeout=10)).usage_records
        assert [record.session_id for record in records] == [first.id, queued.id]
        assert all(record.used.ToTimedelta() == _between(record.start_time, record.end_time) for record in records)


async def test_a_node_that_is_emptied_ends_its_sessions_and_takes_new_ones_only_when_uncordoned(
    stack: RunningStack,
) -> None:
    async with an_operator(stack) as operator, stack.caller() as caller:
        session = await caller.create()
        node_id = session.node_id
        try:
            request = node_service_pb2.DrainNodeRequest(
                node_id=node_id, mode=node_service_pb2.DrainNodeRequest.MODE_CLOSE
            )
            draining = await operator.nodes.DrainNode(request, metadata=operator.metadata, timeout=10)
            assert draining.state == node_pb2.Node.STATE_DRAINING
            final = await _ended(caller, session.id, within=10)
            assert final.close_reason == session_pb2.CLOSE_REASON_NODE_DRAINED
            elsewhere = await caller.create()
            assert elsewhere.node_id != node_id
            await caller.close(elsewhere.id)
        finally:
            node = await operator.uncordon(node_id)
        assert (node.state, node.slots_used) == (node_pb2.Node.STATE_ACTIVE, 0)


async def test_a_session_that_nobody_uses_closes_after_its_idle_timeout(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        request = session_service_pb2.CreateSessionRequest(idle_timeout=Duration(seconds=10))
        session = await caller.sessions.CreateSession(request, metadata=caller.metadata, timeout=60)
        final = await _ended(caller, session.id, within=30)
        assert (final.state, final.close_reason) == (
            session_pb2.Session.STATE_CLOSED,
            session_pb2.CLOSE_REASON_IDLE,
        )
        # A node reports every five seconds, its report counts once the next has come, and the reaper looks every two.
        assert 10 <= _between(final.start_time, final.end_time).total_seconds() <= 25


async def test_a_watcher_sees_a_session_come_and_go(stack: RunningStack) -> None:
    async with stack.caller() as caller:
        request = session_service_pb2.WatchSessionsRequest()
        request.filter.labels["watched"] = "yes"
        watch = caller.sessions.WatchSessions(request, metadata=caller.metadata)
        first = await anext(aiter(watch))
        assert (first.type, bool(first.resume_token)) == (
            session_service_pb2.WatchSessionsResponse.TYPE_BOOKMARK,
            True,
        )
        create = session_service_pb2.CreateSessionRequest(labels={"watched": "yes"})
        session = await caller.sessions.CreateSession(create, metadata=caller.metadata, timeout=60)
        await caller.close(session.id)
        states = []
        async with asyncio.timeout(10):
            async for news in watch:
                if news.HasField("session"):
                    assert news.session.id == session.id
                    states.append(news.session.state)
                if states and states[-1] == session_pb2.Session.STATE_CLOSED:
                    break
        assert states == sorted(states)
        watch.cancel()


async def test_a_node_that_froze_is_lost_and_ends_its_browsers_before_it_comes_back(stack: RunningStack) -> None:
    async with an_operator(stack) as operator, stack.caller() as caller:
        session = await caller.create()
        name = (await _node_of(operator, session.node_id)).name
        registered = (await _node_of(operator, session.node_id)).register_time.ToDatetime()
        frozen = psutil.Process(stack.pid(name))
        frozen.suspend()
        began = time.monotonic()
        try:
            final = await _ended(caller, session.id, within=25)
            assert (final.state, final.close_reason) == (
                session_pb2.Session.STATE_FAILED,
                session_pb2.CLOSE_REASON_NODE_LOST,
            )
            assert time.monotonic() - began <= 20
        finally:
            frozen.resume()

        async def back_and_empty() -> bool:
            node = await operator.node_named(name)
            is_anew = node.register_time.ToDatetime() > registered
            return is_anew and node.state == node_pb2.Node.STATE_ACTIVE and not stack.browsers(name)

        await eventually(back_and_empty, within=20, what="the node registers anew, without a browser")


async def test_a_revoked_key_is_refused(stack: RunningStack) -> None:
    async with an_operator(stack) as operator:
        await operator.organization("o_leaky")
        new = await operator.new_key("o_leaky")
        async with stack.caller(new.secret) as caller:
            assert await caller.running() == []
            request = organization_service_pb2.RevokeApiKeyRequest(api_key_id=new.api_key.id)
            await operator.organizations.RevokeApiKey(request, metadata=operator.metadata, timeout=10)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await caller.running()
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def _node_of(operator: Operator, node_id: str) -> node_pb2.Node:
    request = node_service_pb2.GetNodeRequest(node_id=node_id)
    return await operator.nodes.GetNode(request, metadata=operator.metadata, timeout=10)


def _between(start: Timestamp, end: Timestamp) -> timedelta:
    return end.ToDatetime() - start.ToDatetime()
