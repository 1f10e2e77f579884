"""A session's browser that is up: its clients, its recordings and downloads, and its end."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta

from browser_node.adapters.chromium.cdp.command_filter import SessionFolders
from browser_node.adapters.chromium.cdp.connection import Connection
from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.cdp.targets import Targets
from browser_node.adapters.chromium.downloads import Downloads
from browser_node.adapters.chromium.live.control import Control
from browser_node.adapters.chromium.live.view import MAX_VIEWERS, LiveView
from browser_node.adapters.chromium.pictures.recorder import Recording
from browser_node.adapters.chromium.pictures.screencast import Screencast
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.adapters.chromium.processes.vitals import Vitals
from browser_node.domain.artifact import ArtifactOrigin
from browser_node.domain.browser import BrowserEnd, BrowserFacts, CloseReason, RunId
from browser_node.domain.errors import ClientLimit, SessionNotOpen, ViewerLimit
from browser_node.usecases.ports import (
    ArtifactSpool,
    CdpAccess,
    CdpClient,
    CdpConnection,
    OpenTarget,
    ViewerConnection,
    ViewerSocket,
)
from fleetkit.ids import IdSource

log = logging.getLogger(__name__)

MAX_CLIENTS = 16

_GRACEFUL = timedelta(seconds=2)
_KEEPING = timedelta(seconds=10)

# WebSocket close codes: the service goes away under the client, as it was told to, or because something broke.
_GOING_AWAY, _BROKEN = 1001, 1011
_BREAKAGES = frozenset({CloseReason.BROWSER_CRASHED, CloseReason.OUT_OF_MEMORY, CloseReason.DISK_FULL})


class BrowserPipe(Multiplexer):
    """A multiplexer that reads a pipe: when the pipe fills up, clients are not read until it drains."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = asyncio.Event()
        self.connections: dict[Connection, RunId] = {}

    def pipe_closed(self) -> None:
        self.closed.set()

    def pipe_full(self) -> None:
        for connection in self.connections:
            connection.hold("pipe")

    def pipe_drained(self) -> None:
        for connection in self.connections:
            connection.release("pipe")


class ChromiumBrowser:
    """A live browser of one session. `on_context` is told of each context that a client makes,
    and again whenever another client has left: `on_client_left` is told of that for all pages."""

    def __init__(
        self,
        *,
        tree: BrowserTree,
        pipe: BrowserPipe,
        facts: BrowserFacts,
        downloads: Downloads,
        targets: Targets,
        origin: ArtifactOrigin,
        spool: ArtifactSpool,
        ids: IdSource,
        on_context: Callable[[str], None],
        on_client_left: Callable[[], None],
    ) -> None:
        self._tree = tree
        self._pipe = pipe
        self._facts = facts
        self._downloads = downloads
        self._targets = targets
        self._origin = origin
        self._spool = spool
        self._ids = ids
        self._on_context = on_context
        self._on_client_left = on_client_left
        self._folders = SessionFolders(downloads=tree.folders.downloads, uploads=tree.folders.uploads)
        self._screencast = Screencast(pipe)
        self._control = Control()
        self._live = LiveView(multiplexer=pipe, screencast=self._screencast, control=self._control)
        self._recordings: dict[RunId, Recording] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._closing = False
        # Up from now on: a browser that nobody attaches to idles since then.
        pipe.last_input = time.monotonic()

    @property
    def facts(self) -> BrowserFacts:
        return self._facts

    @property
    def pid(self) -> int:
        """The main process, for tests and for the operator's eyes."""
        return self._tree.pid

    @property
    def client_count(self) -> int:
        return len(self._pipe.connections)

    @property
    def viewer_count(self) -> int:
        return self._live.viewer_count

    @property
    def input_idle(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._pipe.last_input)

    @property
    def targets(self) -> tuple[OpenTarget, ...]:
        return self._targets.known

    async def attach(self, client: CdpClient, access: CdpAccess) -> CdpConnection:
        """Join a client and begin a run with its recording. Raises ClientLimit, SessionNotOpen."""
        if self._closing or self._pipe.closed.is_set():
            raise SessionNotOpen("The session's browser has ended.")
        if len(self._pipe.connections) >= MAX_CLIENTS:
            raise ClientLimit(f"At most {MAX_CLIENTS} clients can be attached.", limit=str(MAX_CLIENTS))
        run_id = RunId(self._ids.new("run"))
        connection = Connection(
            multiplexer=self._pipe,
            client=client,
            folders=self._folders,
            on_context=self._on_context,
            on_action=self._screencast.follow,
            on_leave=self._on_leave,
            access=access,
            control=self._control,
        )
        self._pipe.connections[connection] = run_id
        self._downloads.current_run = run_id
        try:
            await connection.open()
        except (CdpError, asyncio.CancelledError) as error:
            connection.leave()
            if isinstance(error, CdpError):
                raise SessionNotOpen("The session's browser has ended.") from error
            raise
        if connection in self._pipe.connections:
            self._begin_recording(run_id)
        log.info("a client attached", extra={"run_id": run_id})
        return connection

    async def watch(self, socket: ViewerSocket, *, control_generation: int | None) -> ViewerConnection:
        """Join a viewer. Raises ViewerLimit, SessionNotOpen."""
        if self._closing or self._pipe.closed.is_set():
            raise SessionNotOpen("The session's browser has ended.")
        if self.viewer_count >= MAX_VIEWERS:
            raise ViewerLimit(f"At most {MAX_VIEWERS} viewers can watch.", limit=str(MAX_VIEWERS))
        return await self._live.join(socket, generation=control_generation)

    def set_control(self, generation: int, *, held: bool) -> None:
        self._control.set(generation, held=held)

    def release_control(self) -> None:
        self._control.release()

    def _begin_recording(self, run_id: RunId) -> None:
        recording = Recording(run_id=run_id, origin=self._origin, screencast=self._screencast, spool=self._spool)
        self._recordings[run_id] = recording
        self._do(recording.record())

    def _on_leave(self, connection: Connection) -> None:
        run_id = self._pipe.connections.pop(connection)
        recording = self._recordings.pop(run_id, None)
        if recording is not None:
            recording.finish()
        self._downloads.current_run = next(reversed(self._pipe.connections.values()), None)
        self._restore()
        log.info("a client left", extra={"run_id": run_id})

    def _restore(self) -> None:
        """Chrome forgets what holds for a whole context when any session that had set it too ends: set it again."""
        self._on_client_left()
        for connection in self._pipe.connections:
            for context_id in connection.contexts:
                self._on_context(context_id)

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def ended(self) -> BrowserEnd:
        """Wait until the browser has ended by itself, or has to: gone, hanging, or past what a session may use."""
        return await Vitals(self._tree, self._pipe, self._pipe.closed).ended()

    def dismiss(self, end: BrowserEnd) -> None:
        """Tell every client why, and let nobody in any more."""
        if self._closing:
            return
        self._closing = True
        # The browser first: its end does not wait for anything.
        self._pipe.tell("Browser.close", {})
        why = f"session closed: {end.reason}"
        self._live.end(why)
        self._pipe.end(why)
        for connection in list(self._pipe.connections):
            connection.client.close(_BROKEN if end.reason in _BREAKAGES else _GOING_AWAY, why)
            connection.leave()

    async def close(self, end: BrowserEnd) -> None:
        """Dismiss the clients, end the browser, keep what it left. The files are wiped last."""
        try:
            self.dismiss(end)
            if self._pipe.closed.is_set() or not await self._tree.exited_within(_GRACEFUL):
                log.debug("the browser is ended by force")
            await self._tree.fell()
            await self._keep()
        except Exception:
            log.exception("the end of a browser is not clean")
        finally:
            self._screencast.close()
            await self._tree.remove()

    async def _keep(self) -> None:
        try:
            async with asyncio.timeout(_KEEPING.total_seconds()):
                await self._downloads.finish()
                if self._chores:
                    await asyncio.wait(self._chores)
        except TimeoutError:
            log.error("a browser left more than could be kept in time")
        for chore in self._chores:
            chore.cancel()
