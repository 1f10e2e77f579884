"""A node's outside, in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from browser_node.domain.artifact import ArtifactKind, ArtifactOrigin, NewArtifact
from browser_node.domain.browser import (
    Assignment,
    BrowserEnd,
    BrowserFacts,
    BrowserKind,
    SessionId,
    StartOrder,
)
from browser_node.domain.options import BrowserOptions
from browser_node.usecases.ports import (
    CdpAccess,
    CdpClient,
    CdpConnection,
    Instructions,
    NodeProfile,
    OpenTarget,
    Pressure,
    Registration,
    Report,
    SpooledArtifact,
    ViewerConnection,
    ViewerSocket,
)
from fleetkit.errors import FleetError

SESSION = SessionId("pbs_" + "0" * 26)
FACTS = BrowserFacts(product="Chrome/1", user_agent="UA", sandboxed=True)


def an_order(
    *,
    session_id: SessionId = SESSION,
    epoch: int = 1,
    kind: BrowserKind = BrowserKind.CHROME,
    remaining: timedelta = timedelta(minutes=5),
    options: BrowserOptions | None = None,
) -> StartOrder:
    return StartOrder(
        session_id=session_id,
        epoch=epoch,
        organization_id="o_test",
        kind=kind,
        remaining=remaining,
        artifact_token="artifact-token",
        options=options or BrowserOptions(),
    )


def an_artifact(*, session_id: SessionId = SESSION, name: str = "report.csv") -> NewArtifact:
    return NewArtifact(
        origin=ArtifactOrigin(
            session_id=session_id, artifact_token="artifact-token", trace_headers={"traceparent": "x"}
        ),
        kind=ArtifactKind.DOWNLOAD,
        display_name=name,
        content_type="text/csv",
    )


class SteppedClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self._seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._seconds, UTC)

    def monotonic(self) -> float:
        return self._seconds

    def step(self, span: timedelta) -> None:
        self._seconds += span.total_seconds()


class FakeBrowser:
    """A LiveBrowser that ends when a test says so; `closing` holds its close up."""

    def __init__(self) -> None:
        self.facts = FACTS
        self.client_count = 0
        self.viewer_count = 0
        # What was heard of control: generation and whether it is held; 0 stands for a release.
        self.control: list[tuple[int, bool]] = []
        self.input_idle = timedelta(0)
        self.closing: asyncio.Event | None = None
        self.crash: asyncio.Future[BrowserEnd] = asyncio.get_running_loop().create_future()
        self.dismissed_with: BrowserEnd | None = None
        self.closed_with: BrowserEnd | None = None

    @property
    def targets(self) -> Sequence[OpenTarget]:
        return ()

    async def attach(self, client: CdpClient, access: CdpAccess) -> CdpConnection:
        raise NotImplementedError

    async def watch(self, socket: ViewerSocket, *, control_generation: int | None) -> ViewerConnection:
        raise NotImplementedError

    def set_control(self, generation: int, *, held: bool) -> None:
        self.control.append((generation, held))

    def release_control(self) -> None:
        self.control.append((0, False))

    async def ended(self) -> BrowserEnd:
        return await asyncio.shield(self.crash)

    def dismiss(self, end: BrowserEnd) -> None:
        self.dismissed_with = end

    async def close(self, end: BrowserEnd) -> None:
        self.closed_with = end
        if self.closing is not None:
            await self.closing.wait()


class FakeLauncher:
    """Launches FakeBrowsers; `hold` makes launches wait, `error` makes them fail."""

    def __init__(self) -> None:
        self.asked_for: list[SessionId] = []
        self.launched: list[tuple[StartOrder, FakeBrowser]] = []
        self.hold: asyncio.Event | None = None
        self.error: FleetError | None = None
        self.cancelled = 0
        self.at_once = 0
        self.most_at_once = 0
        self.warm_count = 0

    async def launch(self, order: StartOrder) -> FakeBrowser:
        self.asked_for.append(order.session_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        browser = FakeBrowser()
        self.launched.append((order, browser))
        return browser


@dataclass
class FakeGateway:
    """session-api: answers what a test put in, and keeps the reports."""

    isolation_budget: timedelta = timedelta(seconds=120)
    registrations: int = 0
    reports: list[Report] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    errors: list[FleetError] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def register(self, profile: NodeProfile) -> Registration:
        self.registrations += 1
        return Registration(
            node_id="nod_1",
            registration_id=f"reg_{self.registrations}",
            heartbeat_interval=timedelta(seconds=5),
            token_public_key="pem",
            isolation_budget=self.isolation_budget,
        )

    async def heartbeat(self, registration: Registration, report: Report) -> Instructions:
        self.reports.append(report)
        self.heard.set()
        if self.errors:
            raise self.errors.pop(0)
        return Instructions(assignments=list(self.assignments), heartbeat_interval=timedelta(seconds=5))


class FakeMachine:
    """A Machine that is as busy as a test says."""

    def __init__(self) -> None:
        self.pressure: Pressure | None = None
        self.disk_used = 0.0


class FakeKeys:
    def __init__(self) -> None:
        self.trusted: list[tuple[str, str]] = []

    def trust(self, public_key: str, *, node_id: str) -> None:
        self.trusted.append((public_key, node_id))


class FakeArtifactStore:
    """Stores, or raises what a test put in first."""

    def __init__(self) -> None:
        self.errors: list[FleetError] = []
        self.tried = 0
        self.stored: list[tuple[SpooledArtifact, bytes]] = []
        self.changed = asyncio.Event()

    async def upload(self, item: SpooledArtifact) -> None:
        self.tried += 1
        if self.errors:
            raise self.errors.pop(0)
        self.stored.append((item, await asyncio.to_thread(Path(item.path).read_bytes)))
        self.changed.set()
