"""What a session leaves behind, before artifact-store has it."""

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from browser_node.domain.browser import RunId, SessionId

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_MAX_NAME_BYTES = 1024
# Made once, here: the library's own table reads files of the machine when it is first asked.
_TYPES = mimetypes.MimeTypes()


class ArtifactKind(StrEnum):
    """Kinds of artifact that a node makes."""

    DOWNLOAD = "DOWNLOAD"
    RECORDING = "RECORDING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactOrigin:
    """The session that leaves artifacts: what each of its uploads carries."""

    session_id: SessionId
    artifact_token: str = field(repr=False)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArtifact:
    """One thing that a session leaves. `display_name` is what the page said: data, never a path."""

    origin: ArtifactOrigin
    kind: ArtifactKind
    display_name: str
    content_type: str
    run_id: RunId | None = None


def download_of(origin: ArtifactOrigin, *, suggested_name: str, run_id: RunId | None) -> NewArtifact:
    """Describe a downloaded file; the media type is guessed from the name that the page suggested."""
    guessed = (_TYPES.guess_type(suggested_name, strict=False)[0] or "").lower()
    name = suggested_name.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    return NewArtifact(
        origin=origin,
        kind=ArtifactKind.DOWNLOAD,
        display_name=name or "download",
        content_type=guessed if _MEDIA_TYPE.fullmatch(guessed) else "application/octet-stream",
        run_id=run_id,
    )


def recording_of(origin: ArtifactOrigin, *, run_id: RunId) -> NewArtifact:
    """Describe the video of one run."""
    return NewArtifact(
        origin=origin,
        kind=ArtifactKind.RECORDING,
        display_name=f"{run_id}.mkv",
        content_type="video/x-matroska",
        run_id=run_id,
    )
