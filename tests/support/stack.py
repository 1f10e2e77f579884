"""The whole fleet for end-to-end tests: real servers, four services, two nodes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from google.protobuf.duration_pb2 import Duration

from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.rpc.client import bearer
from local_stack.options import StackOptions
from local_stack.stack import LocalStack
from tests.support.servers import BackgroundServers
from tests.support.spans import Collector

SERVICES = ("session-api", "artifact-store", "reaper", "node-1", "node-2")
SERVERS = ("postgres", "nats", "s3")


@dataclass(slots=True)
class Caller:
    """The gRPC front door, with one API key."""

    sessions: session_service_pb2_grpc.SessionServiceAsyncStub
    artifacts: artifact_service_pb2_grpc.ArtifactServiceAsyncStub
    key: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self.key)

    async def create(self, *, minutes: int | None = None, request_id: str = "") -> session_pb2.Session:
        request = session_service_pb2.CreateSessionRequest(request_id=request_id)
        if minutes is not None:
            request.timeout.CopyFrom(Duration(seconds=60 * minutes))
        return await self.sessions.CreateSession(request, metadata=self.metadata, timeout=60)

    async def get(self, session_id: str) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=session_id)
        return await self.sessions.GetSession(request, metadata=self.metadata, timeout=10)

    async def close(self, session_id: str) -> session_pb2.Session:
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        return await self.sessions.CloseSession(request, metadata=self.metadata, timeout=30)

    async def running(self) -> list[session_pb2.Session]:
        request = session_service_pb2.ListSessionsRequest(page_size=1000)
        request.filter.states.append(session_pb2.Session.STATE_RUNNING)
        return list((await self.sessions.ListSessions(request, metadata=self.metadata, timeout=10)).sessions)

    async def list_artifacts(self, session_id: str) -> list[artifact_pb2.Artifact]:
        request = artifact_service_pb2.ListArtifactsRequest(session_id=session_id)
        return list((await self.artifacts.ListArtifacts(request, metadata=self.metadata, timeout=10)).artifacts)

    async def url_of(self, artifact_id: str) -> str:
        request = artifact_service_pb2.GetArtifactRequest(artifact_id=artifact_id)
        answer = await self.artifacts.GetArtifact(request, metadata=self.metadata, timeout=10)
        return answer.download_url


class RunningStack:
    """The fleet, and ways to hurt it."""

    def __init__(self, servers: BackgroundServers, local: LocalStack, collector: Collector) -> None:
        self._servers = servers
        self.local = local
        self.collector = collector

    async def key(self, organization: str, *, scope: str = "member", max_timeout: int | None = None) -> str:
        """Make an API key, as an operator does."""
        cap = () if max_timeout is None else ("--max-timeout", str(max_timeout))
        return await self._servers.call(self.local.create_key(organization, scope, *cap))

    @contextlib.asynccontextmanager
    async def caller(self, key: str | None = None) -> AsyncIterator[Caller]:
        """Call the front door; with the demonstration organization's key unless another is given."""
        async with grpc.aio.insecure_channel(self.local.grpc_address) as channel:
            yield Caller(
                sessions=session_service_pb2_grpc.SessionServiceStub(channel),
                artifacts=artifact_service_pb2_grpc.ArtifactServiceStub(channel),
                key=key or self.local.api_key,
            )

    def pid(self, name: str) -> int:
        pid = self.local.process(name).pid
        assert pid is not None, f"{name} does not run"
        return pid

    async def kill(self, name: str) -> None:
        """kill -9, as a crash would."""

        async def kill() -> None:
            self.local.process(name).kill(signal.SIGKILL)

        await self._servers.call(kill())

    async def wait_ready(self) -> None:
        """Return when every process serves again."""
        await self._servers.call(self.local.wait_ready())

    def browsers(self, node: str) -> list[psutil.Process]:
        """The main processes of the browsers that a node runs now."""
        children = psutil.Process(self.pid(node)).children(recursive=True)
        return [child for child in children if is_browser_main(child)]


def is_browser_main(process: psutil.Process) -> bool:
    """Whether this is the main process of a browser, not one of its helpers."""
    try:
        arguments = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return "--remote-debugging-pipe" in arguments and not any(a.startswith("--type=") for a in arguments)


@contextlib.contextmanager
def running_stack(servers: BackgroundServers, folder: Path, collector: Collector) -> Iterator[RunningStack]:
    """Run the fleet on a scratch folder within the block."""
    otel = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    environment = dict.fromkeys(SERVICES, otel)
    environment["artifact-store"] = {**otel, "FLEET_RETENTION_DOWNLOADS": "30d"}
    local = LocalStack(StackOptions(state_dir=folder, environment=environment, warm_browsers=0))
    servers.start(local)
    yield RunningStack(servers, local, collector)
