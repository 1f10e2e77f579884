"""Files on their way to artifact-store, in one folder of the node's disk: they survive its restart.

`<id>.open` is being written, `<id>` is complete; `<id>.json` says what it is, how large, and with which token it is
stored. A file that was being written when the node died is taken as it is: recordings can be played without an end.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
from dataclasses import asdict
from pathlib import Path

from browser_node.domain.artifact import ArtifactKind, ArtifactOrigin, NewArtifact
from browser_node.domain.browser import RunId, SessionId
from browser_node.usecases.ports import SpooledArtifact
from fleetkit.ids import IdSource

log = logging.getLogger(__name__)

_OPEN = ".open"
_SIDECAR = ".json"


class DiskSpool:
    """An ArtifactSpool and the UploadQueue behind it. Call `recover` before anything else."""

    def __init__(self, folder: Path, *, ids: IdSource) -> None:
        self._folder = folder
        self._ids = ids
        self._ready: asyncio.Queue[SpooledArtifact] = asyncio.Queue()
        self._unstored: set[str] = set()

    async def recover(self) -> None:
        """Make the folder and take up what an earlier life left there. Raises OSError."""
        for item in await asyncio.to_thread(self._recover):
            self._offer(item)

    # ---- ArtifactSpool

    async def open(self, artifact: NewArtifact) -> Path:
        return await asyncio.to_thread(self._open, artifact)

    async def commit(self, path: Path) -> None:
        self._offer(await asyncio.to_thread(self._commit, path))

    async def discard(self, path: Path) -> None:
        await asyncio.to_thread(self._remove, path.name.removesuffix(_OPEN))

    async def take(self, source: Path, artifact: NewArtifact, *, owner: int | None) -> None:
        self._offer(await asyncio.to_thread(self._take, source, artifact, owner))

    # ---- UploadQueue

    async def next(self) -> SpooledArtifact:
        return await self._ready.get()

    async def stored(self, item: SpooledArtifact) -> None:
        await asyncio.to_thread(self._remove, item.artifact_id)
        self._unstored.discard(item.artifact_id)

    async def refused(self, item: SpooledArtifact, why: str) -> None:
        await asyncio.to_thread(self._set_aside, item.artifact_id, why)
        self._unstored.discard(item.artifact_id)

    def retry(self, item: SpooledArtifact) -> None:
        self._ready.put_nowait(item)

    @property
    def waiting(self) -> int:
        return len(self._unstored)

    def _offer(self, item: SpooledArtifact) -> None:
        self._unstored.add(item.artifact_id)
        self._ready.put_nowait(item)

    # ---- blocking, in threads

    def _recover(self) -> list[SpooledArtifact]:
        self._refused_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        found: list[SpooledArtifact] = []
        for sidecar in sorted(self._folder.glob(f"*{_SIDECAR}")):
            artifact_id = sidecar.name.removesuffix(_SIDECAR)
            try:
                unfinished = self._path(artifact_id + _OPEN)
                if unfinished.exists() and unfinished.stat().st_size == 0:
                    self._remove(artifact_id)
                elif unfinished.exists():
                    found.append(self._commit(unfinished))
                else:
                    found.append(self._read(artifact_id))
            except (OSError, ValueError, KeyError, TypeError):
                log.exception("a spooled file is unusable: %s", artifact_id)
                self._set_aside(artifact_id, "unusable after a restart")
        return found

    def _open(self, artifact: NewArtifact) -> Path:
        artifact_id = self._ids.new("art")
        self._write_sidecar(artifact_id, artifact)
        path = self._path(artifact_id + _OPEN)
        path.touch(mode=0o600)
        return path

    def _commit(self, path: Path) -> SpooledArtifact:
        artifact_id = path.name.removesuffix(_OPEN)
        size, sha256 = _digest(path)
        facts = json.loads(self._sidecar(artifact_id).read_text())
        facts.update(size_bytes=size, sha256=sha256)
        _write_safely(self._sidecar(artifact_id), json.dumps(facts))
        path.replace(self._path(artifact_id))
        return self._read(artifact_id)

    def _take(self, source: Path, artifact: NewArtifact, owner: int | None) -> SpooledArtifact:
        # The folder is the browser's: what lies there may be a link to anywhere, or change while it is looked at.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or (owner is not None and facts.st_uid != owner):
                raise ValueError(f"{source} is not a file of the browser's own")
            path = self._open(artifact)
            try:
                if not _moved(source, path, facts):
                    with os.fdopen(descriptor, "rb", closefd=False) as reading, path.open("wb") as writing:
                        shutil.copyfileobj(reading, writing, 1 << 20)
                    source.unlink(missing_ok=True)
            except BaseException:
                # Half a file must not be taken for a whole one after a restart.
                self._remove(path.name.removesuffix(_OPEN))
                raise
        finally:
            os.close(descriptor)
        return self._commit(path)

    def _read(self, artifact_id: str) -> SpooledArtifact:
        facts = json.loads(self._sidecar(artifact_id).read_text())
        described = facts["artifact"]
        origin = described["origin"]
        artifact = NewArtifact(
            origin=ArtifactOrigin(
                session_id=SessionId(origin["session_id"]),
                artifact_token=origin["artifact_token"],
                trace_headers=origin["trace_headers"],
            ),
            kind=ArtifactKind(described["kind"]),
            display_name=described["display_name"],
            content_type=described["content_type"],
            run_id=RunId(described["run_id"]) if described["run_id"] else None,
        )
        path = self._path(artifact_id)
        if path.stat().st_size != facts["size_bytes"]:
            raise ValueError("its size is not what it was")
        return SpooledArtifact(
            artifact_id=artifact_id,
            artifact=artifact,
            path=path,
            size_bytes=facts["size_bytes"],
            sha256=facts["sha256"],
        )

    def _write_sidecar(self, artifact_id: str, artifact: NewArtifact) -> None:
        described = asdict(artifact)
        _write_safely(self._sidecar(artifact_id), json.dumps({"artifact": described}))

    def _remove(self, artifact_id: str) -> None:
        for path in (self._path(artifact_id + _OPEN), self._path(artifact_id), self._sidecar(artifact_id)):
            path.unlink(missing_ok=True)

    def _set_aside(self, artifact_id: str, why: str) -> None:
        for path in (self._path(artifact_id + _OPEN), self._path(artifact_id), self._sidecar(artifact_id)):
            with contextlib.suppress(FileNotFoundError):
                path.replace(self._refused_folder / path.name)
        _write_safely(self._refused_folder / f"{artifact_id}.why", why)

    @property
    def _refused_folder(self) -> Path:
        return self._folder / "refused"

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _sidecar(self, artifact_id: str) -> Path:
        return self._folder / f"{artifact_id}{_SIDECAR}"


def _moved(source: Path, target: Path, facts: os.stat_result) -> bool:
    """Move the very file that `facts` tell of, if it lies on the same disk; the browser loses its hold on it."""
    try:
        source.rename(target)
    except OSError:
        return False
    moved = target.lstat()
    if (moved.st_dev, moved.st_ino) != (facts.st_dev, facts.st_ino):
        target.unlink()
        raise ValueError(f"{source} changed while it was taken")
    os.chown(target, os.geteuid(), os.getegid())
    target.chmod(0o600)
    return True


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _write_safely(path: Path, text: str) -> None:
    """Write a whole file or leave the old one, readable by nobody else."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(path)
