"""Looks into what came out of the store."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import av

from local_stack.demo.checks import expect

_WEBM_DOC_TYPE = b"webm"


def sha256_of(path: Path) -> str:
    """Return the sum of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_rows(path: Path) -> list[list[str]]:
    """Return a CSV's rows by their first column as a number, the column names first."""
    # Line breaks inside quotes are data.
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return [names, *sorted(rows, key=lambda row: int(row[0]))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """What a video is made of; `colours` are the grey values of its last frame."""

    frames: int
    seconds: float
    width: int
    height: int
    colours: int


def watch(path: Path) -> Video:
    """Decode a video to its end. Raises NotSeen when it is no WebM, and av's errors when it is broken."""
    with path.open("rb") as file:
        expect(_WEBM_DOC_TYPE in file.read(64), f"{path.name} is no WebM")
    frames = 0
    last: av.VideoFrame | None = None
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames, last = frames + 1, frame
        seconds = (container.duration or 0) / av.time_base
    if last is None:
        return Video(frames=0, seconds=seconds, width=0, height=0, colours=0)
    grey = last.reformat(format="gray8")
    plane = grey.planes[0]
    pixels = bytes(plane)
    lines = (pixels[start : start + grey.width] for start in range(0, plane.line_size * grey.height, plane.line_size))
    colours = len(set().union(*lines))
    return Video(frames=frames, seconds=seconds, width=last.width, height=last.height, colours=colours)
