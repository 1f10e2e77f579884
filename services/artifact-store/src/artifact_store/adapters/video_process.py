"""Videos, made by a process of low priority: a recording that breaks the decoder breaks nothing else."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from artifact_store.domain.errors import VideoBroken

_READ_BYTES = 1024 * 1024
_NICENESS = 10
_STOP_SECONDS = 5.0


class ProcessVideoMaker:
    """Works in `scratch`, a folder that no other process uses: what a crash left there is removed at the start."""

    def __init__(self, *, scratch: Path, timeout: timedelta) -> None:
        self._scratch = scratch
        self._timeout = timeout

    def prepare(self) -> None:
        """Make the scratch folder, empty. Blocks."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)

    @contextlib.asynccontextmanager
    async def webm(self, raw: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._scratch))
        try:
            await _write(folder / "raw.mkv", raw)
            await self._transcode(folder)
            video = _read(folder / "video.webm")
            async with contextlib.aclosing(video):
                yield video
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _transcode(self, folder: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "artifact_store.transcode", "raw.mkv", "video.webm"),
            cwd=folder,
            # Our own environment holds secrets, and the process reads what strangers made.
            env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            # Set from here: code between fork and exec is unsafe in a process with threads.
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            async with asyncio.timeout(self._timeout.total_seconds()):
                complaint = await _drained(process)
        except TimeoutError as error:
            raise VideoBroken(f"it took longer than {self._timeout}") from error
        finally:
            await asyncio.shield(_ended(process))
        if process.returncode != 0:
            last_line = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise VideoBroken(last_line or f"the process ended with {process.returncode}")


async def _drained(process: asyncio.subprocess.Process) -> bytes:
    if process.stderr is None:
        raise RuntimeError("the process has no stderr")
    complaint = await process.stderr.read()
    await process.wait()
    return complaint


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    if process.stdin is not None:
        process.stdin.close()


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> None:
    file: BinaryIO = await asyncio.to_thread(path.open, "xb")
    try:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
    finally:
        await asyncio.to_thread(file.close)


async def _read(path: Path) -> AsyncGenerator[bytes, None]:
    file: BinaryIO = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _READ_BYTES):
            yield chunk
    finally:
        await asyncio.to_thread(file.close)
