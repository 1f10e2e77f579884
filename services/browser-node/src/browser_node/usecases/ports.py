"""What the node's use cases need from the outside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from browser_node.domain.artifact import NewArtifact
from browser_node.domain.browser import (
    Assignment,
    BrowserEnd,
    BrowserFacts,
    EndedBrowser,
    InstalledBrowser,
    RunningBrowser,
    StartOrder,
)
from browser_node.domain.options import BrowserTier


class CdpClient(Protocol):
    """A client's socket, as a browser sees it. Nothing here blocks or raises."""

    def send(self, message: bytes) -> None:
        """Queue one CDP message for the client."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, then close with a WebSocket code."""
        ...

    def pause_reading(self) -> None:
        """Take no more messages from the client until `resume_reading`."""
        ...

    def resume_reading(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CdpAccess:
    """What a client may do: everything that clients may, or only what changes nothing; and whether it is given the
    whole browser, or one page of it."""

    is_observer: bool = False
    target_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTarget:
    """A page, worker or frame of a browser, as the browser describes it."""

    id: str
    type: str
    title: str
    url: str


class CdpConnection(Protocol):
    """A client's place in a browser."""

    def receive(self, message: bytes) -> None:
        """Take one message of the client."""
        ...

    def leave(self) -> None:
        """The client's socket is gone."""
        ...


class ViewerSocket(Protocol):
    """A viewer's socket, as a browser sees it. Nothing here blocks or raises."""

    def send_event(self, message: bytes) -> None:
        """Queue one text message."""
        ...

    def send_picture(self, message: bytes) -> None:
        """Queue one binary message."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, then close with a WebSocket code."""
        ...

    def pause_reading(self) -> None:
        """Take no more messages from the viewer until `resume_reading`."""
        ...

    def resume_reading(self) -> None: ...


class ViewerConnection(Protocol):
    """A viewer's place in a browser."""

    def receive(self, message: bytes) -> None:
        """Take one text message of the viewer."""
        ...

    def leave(self) -> None:
        """The viewer's socket is gone."""
        ...


class LiveBrowser(Protocol):
    """A browser that is up."""

    @property
    def facts(self) -> BrowserFacts: ...

    @property
    def client_count(self) -> int: ...

    @property
    def viewer_count(self) -> int: ...

    @property
    def input_idle(self) -> timedelta:
        """Time since a client last sent a command or a person input, or since the browser came up."""
        ...

    @property
    def targets(self) -> Sequence[OpenTarget]:
        """What clients can attach to now, newest first."""
        ...

    async def attach(self, client: CdpClient, access: CdpAccess) -> CdpConnection:
        """Give a client its own session in the browser. Raises ClientLimit, SessionNotOpen."""
        ...

    async def watch(self, socket: ViewerSocket, *, control_generation: int | None) -> ViewerConnection:
        """Let somebody watch, and act while the control lease of this generation is held.

        Raises ViewerLimit, SessionNotOpen.
        """
        ...

    def set_control(self, generation: int, *, held: bool) -> None:
        """A person has taken control, or handed it back. News of an older lease change nothing."""
        ...

    def release_control(self) -> None:
        """Nobody has control."""
        ...

    async def ended(self) -> BrowserEnd:
        """Wait until the browser has ended by itself, or has to: it hangs, or uses more than a session may."""
        ...

    def dismiss(self, end: BrowserEnd) -> None:
        """Tell every client why, and let nobody in any more. Does not block; a second time changes nothing."""
        ...

    async def close(self, end: BrowserEnd) -> None:
        """Dismiss, end all processes, keep what was left, wipe the rest. Bounded; never raises."""
        ...


class BrowserLauncher(Protocol):
    """Gives sessions their browsers."""

    @property
    def warm_count(self) -> int:
        """How many browsers stand ready."""
        ...

    async def launch(self, order: StartOrder) -> LiveBrowser:
        """Return a browser that answers, has a page and is as the order's options say.

        Raises BrowserTypeUnavailable, OptionUnavailable and InvalidOption before a browser is spent where that can be
        told, BrowserStartFailed. Leaves nothing behind when it fails or is cancelled.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapabilities:
    """What a node can do for a session beyond its browsers."""

    tiers: tuple[BrowserTier, ...] = (BrowserTier.FULL,)
    proxy_locations: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProfile:
    """How a node introduces itself."""

    name: str
    address: str
    attach_url: str
    slots: int
    browsers: tuple[InstalledBrowser, ...]
    capabilities: NodeCapabilities = field(default_factory=NodeCapabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One life of a node's connection to session-api."""

    node_id: str
    registration_id: str
    heartbeat_interval: timedelta
    token_public_key: str
    isolation_budget: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How much of the machine is in use, as shares from 0 to 1; `cpu` over the last minute."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a heartbeat says."""

    running: Sequence[RunningBrowser]
    ended: Sequence[EndedBrowser]
    # Nothing new is taken: the node stops, or has no disk left.
    draining: bool
    pressure: Pressure | None
    warm_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What the answer to a heartbeat says."""

    assignments: Sequence[Assignment]
    heartbeat_interval: timedelta


class Machine(Protocol):
    """The machine that the node runs on."""

    @property
    def pressure(self) -> Pressure | None:
        """What was measured last; None before that."""
        ...

    @property
    def disk_used(self) -> float:
        """Share of the disk in use, of the fuller one where state and browsers' folders have two; 0 before that."""
        ...


class FleetGateway(Protocol):
    """session-api, as a node sees it."""

    async def register(self, profile: NodeProfile) -> Registration:
        """Begin a registration. Raises FleetError."""
        ...

    async def heartbeat(self, registration: Registration, report: Report) -> Instructions:
        """Report. Raises RegistrationEnded, other FleetErrors."""
        ...


class TokenKeys(Protocol):
    """Where the public key of the fleet's tokens is put when a registration begins."""

    def trust(self, public_key: str, *, node_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledArtifact:
    """A file that waits for artifact-store, with its size and lower-case hexadecimal sha256."""

    artifact_id: str
    artifact: NewArtifact
    path: Path
    size_bytes: int
    sha256: str


class ArtifactSpool(Protocol):
    """Files on their way to artifact-store; they survive a restart of the node."""

    async def open(self, artifact: NewArtifact) -> Path:
        """Return the path of a new file to write; after a restart it is taken as it is."""
        ...

    async def commit(self, path: Path) -> None:
        """The file of `open` is complete: store it."""
        ...

    async def discard(self, path: Path) -> None:
        """The file of `open` is not wanted."""
        ...

    async def take(self, source: Path, artifact: NewArtifact, *, owner: int | None) -> None:
        """Move a complete file in.

        Only a plain file is taken, and only one of the user `owner` where that is given. Raises ValueError for
        anything else, OSError.
        """
        ...


class UploadQueue(Protocol):
    """The reading side of a spool."""

    async def next(self) -> SpooledArtifact:
        """Wait for the next file to store. It is given out once, until `retry`."""
        ...

    async def stored(self, item: SpooledArtifact) -> None:
        """artifact-store has it: delete it here."""
        ...

    async def refused(self, item: SpooledArtifact, why: str) -> None:
        """artifact-store will never take it: keep it aside for the operator."""
        ...

    def retry(self, item: SpooledArtifact) -> None:
        """Give it out again."""
        ...

    @property
    def waiting(self) -> int:
        """How many files are not stored yet."""
        ...


class ArtifactStore(Protocol):
    """artifact-store, as a node sees it."""

    async def upload(self, item: SpooledArtifact) -> None:
        """Store a file. Raises FleetError."""
        ...
