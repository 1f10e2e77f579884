"""Records runs: one file for each attach, from the browser's shared screencast.

A recorder never disturbs the session: pictures are dropped before anything waits, and whatever fails is logged.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.pictures.matroska import MatroskaFile
from browser_node.adapters.chromium.pictures.pictures import Picture, PictureWish, Rate
from browser_node.adapters.chromium.pictures.screencast import Screencast
from browser_node.domain.artifact import ArtifactOrigin, recording_of
from browser_node.domain.browser import RunId
from browser_node.usecases.ports import ArtifactSpool

log = logging.getLogger(__name__)

_WISH = PictureWish(width=1280, height=720, quality=60)
_PICTURE_INTERVAL = timedelta(milliseconds=200)
_WRITE_INTERVAL = timedelta(seconds=1)
# Pictures that may wait for the disk.
_MOST_WAITING = 16
# A run may be over before the first picture came: even a still page sends one.
_FIRST_FRAME_TIMEOUT = timedelta(seconds=1)


class Recording:
    """The video of one run: a Watcher of the browser's pictures."""

    wish = _WISH
    target_id: str | None = None

    def __init__(self, *, run_id: RunId, origin: ArtifactOrigin, screencast: Screencast, spool: ArtifactSpool) -> None:
        self._artifact = recording_of(origin, run_id=run_id)
        self._screencast = screencast
        self._spool = spool
        # Time in milliseconds, and JPEG.
        self._frames: list[tuple[int, bytes]] = []
        self._over = asyncio.Event()
        self._got_frame = asyncio.Event()
        self._dropped = 0
        self._rate = Rate(_PICTURE_INTERVAL.total_seconds())
        # When the first picture came: a recording begins with it.
        self._began = 0.0

    async def record(self) -> None:
        """Record until `finish`, then hand the file to the spool. Never raises but when cancelled."""
        try:
            path = await self._spool.open(self._artifact)
        except OSError:
            log.exception("a recording cannot begin")
            return
        file = MatroskaFile(path)
        try:
            await self._screencast.add(self)
            await self._write_frames(file)
            await asyncio.to_thread(file.close, self._elapsed_ms())
        except CdpError:
            log.info("a recording ends with its browser")
        except Exception:
            log.exception("a recording failed")
        finally:
            self._screencast.remove(self)
        with contextlib.suppress(OSError):
            await self._keep(file, path)

    def finish(self) -> None:
        """The run is over."""
        self._over.set()

    def due(self) -> float | None:
        return self._rate.next

    def show(self, picture: Picture) -> None:
        now = asyncio.get_running_loop().time()
        self._rate.happened(now)
        if not self._got_frame.is_set():
            self._began = now
            self._got_frame.set()
        if len(self._frames) < _MOST_WAITING:
            self._frames.append((self._elapsed_ms(), picture.jpeg))
        else:
            self._dropped += 1

    async def _write_frames(self, file: MatroskaFile) -> None:
        """Write what came about once a second: handing each picture to a thread costs more than writing it."""
        while not self._over.is_set():
            await _wait(self._over, _WRITE_INTERVAL)
            await self._write(file)
        if not self._got_frame.is_set():
            await _wait(self._got_frame, _FIRST_FRAME_TIMEOUT)
            await self._write(file)

    async def _write(self, file: MatroskaFile) -> None:
        frames, self._frames = self._frames, []
        if frames:
            await asyncio.to_thread(_add_all, file, frames)

    async def _keep(self, file: MatroskaFile, path: Path) -> None:
        if file.frame_count == 0:
            log.info("a run left no picture: there is no recording of it")
            await self._spool.discard(path)
            return
        if self._dropped:
            log.warning("a recording dropped %d pictures: the disk is slow", self._dropped)
        await self._spool.commit(path)

    def _elapsed_ms(self) -> int:
        return int((asyncio.get_running_loop().time() - self._began) * 1000)


def _add_all(file: MatroskaFile, frames: list[tuple[int, bytes]]) -> None:
    for at_ms, jpeg in frames:
        file.add(jpeg, at_ms)


async def _wait(event: asyncio.Event, timeout: timedelta) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout.total_seconds()):
            await event.wait()
