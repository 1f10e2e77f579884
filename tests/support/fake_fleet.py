"""session-api and artifact-store for one node under test, and the node as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.chromium.processes.processes import read_process
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.browser.v1 import browser_pb2
from browserfleet.node.v1 import (
    browser_service_pb2,
    browser_service_pb2_grpc,
    node_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
)
from fleetkit.rpc.caller import bearer_token
from fleetkit.rpc.client import bearer, channel
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service, serving
from fleetkit.rpc.times import duration
from tests.support.node_fakes import SESSION
from tests.support.real_browsers import a_signer, attach_token
from tests.support.waiting import until


@dataclass
class FakeFleet:
    """What the node said and stored."""

    registrations: list[node_service_pb2.RegisterNodeRequest] = field(default_factory=list)
    heartbeats: list[node_service_pb2.HeartbeatRequest] = field(default_factory=list)
    uploads: list[tuple[artifact_service_pb2.UploadHeader, bytes]] = field(default_factory=list)
    upload_traces: list[str] = field(default_factory=list)
    store_is_up: bool = True
    # What heartbeats are told of every session.
    control_generation: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        self.signer = a_signer()

    @property
    def running(self) -> list[str]:
        """Sessions that the newest report says run."""
        return [browser.session_id for browser in self.heartbeats[-1].running] if self.heartbeats else []


class _Nodes(node_service_pb2_grpc.NodeServiceServicer):
    def __init__(self, fleet: FakeFleet) -> None:
        self._fleet = fleet

    async def RegisterNode(
        self, request: node_service_pb2.RegisterNodeRequest, context: Context
    ) -> node_service_pb2.RegisterNodeResponse:
        self._fleet.registrations.append(request)
        return node_service_pb2.RegisterNodeResponse(
            node_id="nod_1",
            registration_id=f"reg_{len(self._fleet.registrations)}",
            heartbeat_interval=duration(timedelta(seconds=0.2)),
            token_public_key=self._fleet.signer.public_key_pem,
            isolation_budget=duration(timedelta(seconds=120)),
        )

    async def Heartbeat(
        self, request: node_service_pb2.HeartbeatRequest, context: Context
    ) -> node_service_pb2.HeartbeatResponse:
        self._fleet.heartbeats.append(request)
        return node_service_pb2.HeartbeatResponse(
            assignments=[
                node_pb2.Assignment(
                    session_id=browser.session_id,
                    epoch=browser.epoch,
                    remaining=duration(timedelta(minutes=5)),
                    control_generation=self._fleet.control_generation,
                )
                for browser in request.running
            ],
            heartbeat_interval=duration(timedelta(seconds=0.2)),
        )


class _Artifacts(artifact_service_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, fleet: FakeFleet) -> None:
        self._fleet = fleet

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[artifact_service_pb2.UploadArtifactRequest], context: Context
    ) -> artifact_pb2.Artifact:
        header, body = artifact_service_pb2.UploadHeader(), b""
        async for request in request_iterator:
            if request.HasField("header"):
                header = request.header
            body += request.chunk
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self._fleet.upload_traces.append(metadata.get("traceparent", ""))
        self._fleet.uploads.append((header, body))
        return artifact_pb2.Artifact(id=header.artifact_id)

    async def ListArtifacts(
        self, request: artifact_service_pb2.ListArtifactsRequest, context: Context
    ) -> artifact_service_pb2.ListArtifactsResponse:
        raise NotImplementedError

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        raise NotImplementedError


class _Anybody:
    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        return bearer_token(metadata)


@contextlib.asynccontextmanager
async def a_fleet() -> AsyncIterator[FakeFleet]:
    """Serve session-api's and artifact-store's parts within the block."""
    fleet = FakeFleet()
    services = [
        Service(
            "browserfleet.node.v1.NodeService",
            lambda server: node_service_pb2_grpc.add_NodeServiceServicer_to_server(_Nodes(fleet), server),  # type: ignore[abstract]  # serves nodes alone
        ),
        Service(
            "browserfleet.artifact.v1.ArtifactService",
            lambda server: artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(_Artifacts(fleet), server),
        ),
    ]
    async with serving("127.0.0.1:0", services, authenticator=_Anybody(), grace=timedelta(0)) as running:
        fleet.address = f"127.0.0.1:{running.port}"
        yield fleet


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class NodeProcess:
    """`python -m browser_node` with its state in `state_dir`."""

    fleet: FakeFleet
    state_dir: Path
    extra: dict[str, str] = field(default_factory=dict)
    artifact_store_address: str | None = None

    def __post_init__(self) -> None:
        self.grpc_port, self.attach_port = free_port(), free_port()
        self.process: asyncio.subprocess.Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLEET_")},
            "LOG_FORMAT": "text",
            "FLEET_SESSION_API_ADDRESS": self.fleet.address,
            "FLEET_ARTIFACT_STORE_ADDRESS": self.artifact_store_address or self.fleet.address,
            "FLEET_NODE_KEY": "bf_test",
            "FLEET_NODE_NAME": "node-under-test",
            # The tests' pages are on loopback.
            "FLEET_EGRESS_ALLOW": "127.0.0.0/8",
            "FLEET_GRPC_LISTEN": f"127.0.0.1:{self.grpc_port}",
            "FLEET_GRPC_ADVERTISE": f"127.0.0.1:{self.grpc_port}",
            "FLEET_ATTACH_LISTEN": f"127.0.0.1:{self.attach_port}",
            "FLEET_ATTACH_URL": f"ws://127.0.0.1:{self.attach_port}",
            "FLEET_SLOTS": "2",
            # Tests look for the one browser that they started.
            "FLEET_WARM_BROWSERS": "0",
            "FLEET_STATE_DIR": str(self.state_dir),
            "FLEET_SCRATCH_DIR": str(self.state_dir.parent / "b"),
            **self.extra,
        }

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start it, and do not wait for anything."""
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-m", "browser_node", env=self.environment)
        return self.process

    async def start(self) -> None:
        """Start it and wait until it has registered and reported."""
        before = len(self.fleet.registrations)
        process = await self.spawn()
        await until(lambda: len(self.fleet.registrations) > before or process.returncode is not None, within=30)
        assert process.returncode is None
        reports = len(self.fleet.heartbeats)
        await until(lambda: len(self.fleet.heartbeats) > reports)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()

    @contextlib.asynccontextmanager
    async def ended_at_last(self) -> AsyncIterator[None]:
        """Whatever happens in the block, the process does not outlive it."""
        try:
            yield
        finally:
            if self.process is not None and self.process.returncode is None:
                await self.end(signal.SIGTERM)

    def token(self, **changes: str) -> str:
        claims = {"audience": "node:nod_1", "subject": "session-api", **changes}
        return self.fleet.signer.sign(audience=claims["audience"], subject=claims["subject"], ttl=timedelta(minutes=1))

    @contextlib.asynccontextmanager
    async def calls(self) -> AsyncIterator[browser_service_pb2_grpc.BrowserServiceAsyncStub]:
        async with channel(f"127.0.0.1:{self.grpc_port}") as opened:
            yield browser_service_pb2_grpc.BrowserServiceStub(opened)

    async def start_browser(
        self,
        *,
        session_id: str = SESSION,
        epoch: int = 1,
        trace: str | None = None,
        spec: browser_pb2.BrowserSpec | None = None,
    ) -> browser_pb2.Browser:
        request = browser_service_pb2.StartBrowserRequest(
            session_id=session_id,
            epoch=epoch,
            organization_id="o_test",
            spec=spec,
            remaining=duration(timedelta(minutes=5)),
            artifact_token="artifact-token",
        )
        metadata = bearer(self.token()) if trace is None else (*bearer(self.token()), ("traceparent", trace))
        async with self.calls() as node:
            return await node.StartBrowser(request, timeout=30, metadata=metadata)

    async def stop_browser(self, session_id: str) -> None:
        request = browser_service_pb2.StopBrowserRequest(session_id=session_id, epoch=1)
        async with self.calls() as node:
            await node.StopBrowser(request, timeout=30, metadata=bearer(self.token()))

    @property
    def is_recording(self) -> bool:
        """Whether a recording has begun to reach the disk."""
        return any(path.stat().st_size for path in (self.state_dir / "spool").glob("*.open"))

    @property
    def attach_url(self) -> str:
        return self.attach_url_of(SESSION)

    def attach_url_of(self, session_id: str) -> str:
        token = attach_token(self.fleet.signer, session_id=session_id)
        return f"ws://127.0.0.1:{self.attach_port}/attach/{session_id}?token={token}"

    def browser_pid(self) -> int:
        """The main process of the only browser. Blocks."""
        (pid,) = self.browser_pids()
        return pid

    def browser_pids(self, *, besides: Set[int] = frozenset()) -> list[int]:
        """The main processes of all browsers. Blocks."""
        children = [
            int(pid)
            for thread in Path(f"/proc/{self.pid}/task").iterdir()
            for pid in (thread / "children").read_text().split()
        ]
        # Orphans of ended browsers may be among them; they lead no session.
        return [
            pid
            for pid in children
            if pid not in besides and (info := read_process(pid)) and info.session == pid and not info.zombie
        ]
