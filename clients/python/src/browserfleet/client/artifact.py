"""What a session leaves: downloads and recordings, as files."""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx

from browserfleet.artifact.v1 import artifact_pb2
from browserfleet.client.calls import Retries
from browserfleet.client.durations import Span, to_timedelta
from browserfleet.client.errors import ArtifactFailed, WaitTimedOut
from browserfleet.client.front_door import FrontDoor
from browserfleet.client.states import ArtifactState
from browserfleet.client.transfer import Progress, Transfer, clean_name, free_path


class Artifact:
    """One file that a session left, as the fleet knew it when this object was made or last asked."""

    def __init__(
        self, message: artifact_pb2.Artifact, *, front_door: FrontDoor, http: httpx.AsyncClient, retries: Retries
    ) -> None:
        self._message = message
        self._front_door = front_door
        self._http = http
        self._retries = retries

    def __repr__(self) -> str:
        return f"<Artifact {self.id} {self.name!r} {self.state}>"

    @property
    def id(self) -> str:
        """ID (`art_…`)."""
        return self._message.id

    @property
    def session_id(self) -> str:
        """Session that left it (`pbs_…`)."""
        return self._message.session_id

    @property
    def run_id(self) -> str | None:
        """Run during which it came (`run_…`), if one was going on."""
        return self._message.run_id or None

    @property
    def name(self) -> str:
        """Name that the page or the fleet gave it. It is data: never use it as a path without `save`'s cleaning."""
        return self._message.display_name

    @property
    def content_type(self) -> str:
        """Media type, for example `text/csv`."""
        return self._message.content_type

    @property
    def size(self) -> int:
        """Size in bytes; 0 until STORED."""
        return self._message.size_bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes in lower-case hexadecimal; empty until STORED."""
        return self._message.sha256

    @property
    def state(self) -> ArtifactState:
        """Where the bytes are: PENDING, STORED or FAILED."""
        return ArtifactState.of(self._message.state, artifact_pb2.Artifact.State.items(), prefix="STATE_")

    @property
    def failure_message(self) -> str | None:
        """Why the bytes are lost, in FAILED."""
        return self._message.failure_message or None

    async def refresh(self) -> "Artifact":
        """Ask the fleet for the present state; returns this object."""
        self._message = (await self._front_door.artifact(self.id)).artifact
        return self

    async def wait(self, timeout: Span = timedelta(minutes=2)) -> "Artifact":
        """Wait until the artifact is STORED or FAILED; returns this object.

        Raises WaitTimedOut when it is neither after `timeout`.
        """
        bound = to_timedelta(timeout)
        try:
            async with asyncio.timeout(bound.total_seconds()):
                for pause in pauses():
                    if self.state.final:
                        break
                    await asyncio.sleep(pause)
                    await self.refresh()
        except TimeoutError:
            raise WaitTimedOut(
                f"artifact {self.id} is still {self.state} after {bound.total_seconds():g} s", reason="WAIT_TIMED_OUT"
            ) from None
        return self

    async def save(
        self, path: str | os.PathLike[str], *, progress: Progress | None = None, timeout: Span = timedelta(minutes=2)
    ) -> Path:
        """Write the bytes to a file and return its path.

        `path` names the file, which is replaced if it is there; or an existing folder, which gets a file with the
        artifact's cleaned name, numbered where that name is taken. A PENDING artifact is waited for, at most
        `timeout`. `progress` is called with the bytes that have arrived and the bytes in all. A connection that is
        cut is resumed where it broke; the file appears only when its size and SHA-256 are those of the store.
        Raises ArtifactFailed, WaitTimedOut, TransferFailed, and OSError where the disk refuses.
        """
        await self.wait(timeout)
        if self.state is not ArtifactState.STORED:
            raise ArtifactFailed(
                f"artifact {self.id} ({self.name}) was lost: {self.failure_message or self.state}",
                reason="ARTIFACT_FAILED",
            )
        target = await asyncio.to_thread(self._target, Path(path))
        transfer = Transfer(
            self._http,
            self._signed_url,
            size=self.size,
            sha256=self.sha256,
            retries=self._retries,
            progress=progress,
        )
        await transfer.into(target)
        return target

    def _target(self, path: Path) -> Path:
        return free_path(path, clean_name(self.name, self.id)) if path.is_dir() else path

    async def _signed_url(self) -> str:
        return (await self._front_door.artifact(self.id)).download_url


def pauses() -> Iterator[float]:
    """Yield the seconds between two looks at something that takes from a tenth of a second to minutes."""
    pause = 0.1
    while True:
        yield pause
        pause = min(1.0, pause * 1.5)
