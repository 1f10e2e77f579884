"""Takes what a browser downloads, whoever asked for it.

Files land in the session's folder under names that Chrome makes (GUIDs). The page's name for a file is data. What no
event announced is found by looking into the folder when the browser has ended.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.domain.artifact import ArtifactOrigin, download_of
from browser_node.domain.browser import RunId
from browser_node.usecases.ports import ArtifactSpool

log = logging.getLogger(__name__)


class _DownloadParams(msgspec.Struct, gc=False):
    guid: str
    suggestedFilename: str = ""  # noqa: N815  # the protocol's name
    state: str = ""
    totalBytes: float = 0  # noqa: N815  # the protocol's name


class _DownloadEvent(msgspec.Struct, gc=False):
    params: _DownloadParams


_decode = msgspec.json.Decoder(_DownloadEvent).decode


@dataclass(slots=True)
class _Download:
    name: str
    run_id: RunId | None
    total_bytes: float = 0


class Downloads:
    """The downloads of one browser."""

    def __init__(
        self,
        *,
        multiplexer: Multiplexer,
        folder: Path,
        owner: int | None,
        origin: ArtifactOrigin,
        spool: ArtifactSpool,
    ) -> None:
        self._session = NodeSession(multiplexer, self._on_event)
        self._folder = folder
        self._owner = owner
        self._origin = origin
        self._spool = spool
        self._under_way: dict[str, _Download] = {}
        self._moving: set[asyncio.Task[None]] = set()
        self.current_run: RunId | None = None

    async def start(self) -> None:
        """Direct the default context's downloads here. Raises CdpError."""
        await self._session.open()
        await self._session.call("Browser.setDownloadBehavior", self._behavior())

    def cover(self, context_id: str | None) -> None:
        """Direct the downloads of another context here too, or again those of the default one."""
        context = {} if context_id is None else {"browserContextId": context_id}
        self._session.tell("Browser.setDownloadBehavior", {**self._behavior(), **context})

    def _behavior(self) -> dict[str, object]:
        return {"behavior": "allowAndName", "downloadPath": str(self._folder), "eventsEnabled": True}

    def _on_event(self, message: bytes) -> None:
        if message.startswith(b'{"method":"Browser.downloadWillBegin"'):
            params = _decode(message).params
            self._under_way[params.guid] = _Download(params.suggestedFilename, self.current_run)
        elif message.startswith(b'{"method":"Browser.downloadProgress"'):
            self._on_progress(_decode(message).params)

    def _on_progress(self, params: _DownloadParams) -> None:
        download = self._under_way.get(params.guid)
        if download is None:
            return
        download.total_bytes = params.totalBytes
        if params.state == "canceled":
            del self._under_way[params.guid]
        elif params.state == "completed":
            del self._under_way[params.guid]
            task = asyncio.create_task(self._move(params.guid, download))
            self._moving.add(task)
            task.add_done_callback(self._moving.discard)

    async def _move(self, guid: str, download: _Download) -> None:
        artifact = download_of(self._origin, suggested_name=download.name or guid, run_id=download.run_id)
        try:
            await self._spool.take(self._folder / guid, artifact, owner=self._owner)
        except (OSError, ValueError):
            log.exception("a download is lost")

    async def finish(self) -> None:
        """The browser has ended: wait for what is being moved, and take in what is complete without an event."""
        while self._moving:
            await asyncio.wait(self._moving)
        for name, size in await asyncio.to_thread(_files_of, self._folder):
            download = self._under_way.pop(name, None)
            if name.endswith(".crdownload") or (download is not None and size != download.total_bytes):
                log.info("a download was not complete when its browser ended")
                continue
            await self._move(name, download or _Download("", self.current_run))


def _files_of(folder: Path) -> list[tuple[str, int]]:
    try:
        return [(entry.name, entry.lstat().st_size) for entry in folder.iterdir() if not entry.is_symlink()]
    except FileNotFoundError:
        return []
