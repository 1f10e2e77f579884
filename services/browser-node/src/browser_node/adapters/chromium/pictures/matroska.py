"""Writes JPEG pictures as they are into a Matroska file with real times (MJPEG, variable frame rate)."""

from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from browser_node.adapters.chromium.pictures.jpeg import jpeg_size

_MILLISECONDS = Fraction(1, 1000)
# What has been written can be played even when the end is missing: short clusters, nothing held back.
_OPTIONS = {"cluster_time_limit": "1000", "flush_packets": "1"}


class MatroskaFile:
    """One recording. Methods block; call them from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._last: tuple[int, bytes] | None = None
        self.frame_count = 0

    def add(self, jpeg: bytes, at_ms: int) -> None:
        """Add a picture. A time that does not grow is moved one millisecond behind the last one."""
        if self._container is None or self._stream is None:
            self._open(jpeg)
        if self._last is not None:
            at_ms = max(at_ms, self._last[0] + 1)
        self._write(jpeg, at_ms)
        self._last = (at_ms, jpeg)
        self.frame_count += 1

    def close(self, at_ms: int) -> None:
        """End the file at a time: the last picture is shown until then."""
        if self._container is None:
            return
        if self._last is not None and at_ms > self._last[0]:
            self._write(self._last[1], at_ms)
        self._container.close()
        self._container = None

    def _open(self, jpeg: bytes) -> None:
        width, height = jpeg_size(jpeg)
        self._container = av.open(str(self._path), "w", format="matroska", options=_OPTIONS)
        self._stream = self._container.add_stream("mjpeg", rate=1000)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuvj420p"
        self._stream.time_base = _MILLISECONDS

    def _write(self, jpeg: bytes, at_ms: int) -> None:
        if self._container is None or self._stream is None:
            raise ValueError("the file is not open")
        packet = av.Packet(jpeg)
        packet.stream = self._stream
        packet.time_base = _MILLISECONDS
        packet.pts = packet.dts = at_ms
        packet.is_keyframe = True
        self._container.mux(packet)
