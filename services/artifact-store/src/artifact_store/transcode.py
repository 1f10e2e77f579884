"""Makes a WebM of a raw recording: `python -m artifact_store.transcode IN OUT`, in a process of its own.

In: Matroska with JPEG frames (MJPEG) at their true times, possibly cut off anywhere. Out: VP9 in WebM with the same
times, its index at the front. Prints the number of frames. Exits 0, or 65 (EX_DATAERR) with one line on stderr when
there is nothing to make a video of. It ends when its stdin does, so that it does not outlive who started it.
"""

import os
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.filter
from av.video.frame import PictureType
from av.video.stream import VideoStream

EX_DATAERR = 65
_MAX_SIDE = 4096
_TIME_BASE = Fraction(1, 1000)
# A player seeks to key frames only.
_KEY_FRAME_INTERVAL_MS = 5000
_ENCODER = {
    "deadline": "realtime",
    "cpu-used": "8",
    "crf": "35",
    "b": "0",
    "row-mt": "1",
    "lag-in-frames": "0",
    # Key frames come where they are asked for, by time: frames have no rate.
    "g": "9999",
}


class Unusable(Exception):
    """There is no video in the input."""


def transcode(source: Path, target: Path) -> int:
    """Write `target` and return its number of frames. Raises Unusable."""
    try:
        with av.open(str(source), format="matroska") as raw:
            return _encode(_decoded(raw), target)
    except av.error.FFmpegError as error:
        raise Unusable(f"not a recording: {error.strerror}") from error


def _decoded(raw: av.container.InputContainer) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield each readable frame with its time in milliseconds, strictly growing from 0."""
    if not raw.streams.video or raw.streams.video[0].codec_context.name != "mjpeg":
        raise Unusable("not a recording: no JPEG frames")
    stream = raw.streams.video[0]
    first, last = None, -1
    for packet in _packets(raw, stream):
        if packet.pts is None or packet.time_base is None:
            continue
        time = round(packet.pts * packet.time_base / _TIME_BASE)
        for frame in _frames(packet):
            first = time if first is None else first
            last = max(last + 1, time - first)
            yield last, frame


def _packets(raw: av.container.InputContainer, stream: VideoStream) -> Iterator["av.Packet[VideoStream]"]:
    # A file that was cut off ends with an error, or in the middle of a frame.
    try:
        yield from raw.demux(stream)
    except av.error.FFmpegError:
        return


def _frames(packet: "av.Packet[VideoStream]") -> list[av.VideoFrame]:
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return []
    return [frame for frame in frames if max(frame.width, frame.height) <= _MAX_SIDE]


class _Fitter:
    """Scales frames into one size, keeping their shape, with black bars where it differs."""

    def __init__(self, width: int, height: int) -> None:
        # Chroma is halved both ways.
        self.width, self.height = max(width & ~1, 2), max(height & ~1, 2)
        self._graphs: dict[tuple[int, int, str], av.filter.Graph] = {}

    def fitted(self, frame: av.VideoFrame) -> av.VideoFrame:
        if (frame.width, frame.height) == (self.width, self.height):
            return frame.reformat(format="yuv420p", dst_color_range="MPEG")
        key = (frame.width, frame.height, frame.format.name)
        graph = self._graphs.get(key) or self._graphs.setdefault(key, self._graph(frame))
        frame.pts = None
        graph.push(frame)
        fitted = graph.pull()
        if not isinstance(fitted, av.VideoFrame):
            raise Unusable("the frames cannot be scaled")
        return fitted

    def _graph(self, frame: av.VideoFrame) -> av.filter.Graph:
        size = f"{self.width}:{self.height}"
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=_TIME_BASE, name="in"
            ),
            graph.add("scale", f"{size}:force_original_aspect_ratio=decrease:out_range=tv"),
            graph.add("pad", f"{size}:(ow-iw)/2:(oh-ih)/2"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ).configure()
        return graph


def _encode(frames: Iterator[tuple[int, av.VideoFrame]], target: Path) -> int:
    first = next(frames, None)
    if first is None:
        raise Unusable("the recording has no frames")
    fitter = _Fitter(first[1].width, first[1].height)
    with av.open(str(target), "w", format="webm", options={"cues_to_front": "1"}) as video:
        stream = video.add_stream("libvpx-vp9", rate=30, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = fitter.width, fitter.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        count, next_key_frame = 0, 0
        for time, frame in _with_first(first, frames):
            fitted = fitter.fitted(frame)
            fitted.pts, fitted.time_base = time, _TIME_BASE
            # Decoded JPEGs are marked as key frames, and the encoder would obey.
            fitted.pict_type = PictureType.NONE
            if time >= next_key_frame:
                fitted.pict_type = PictureType.I
                next_key_frame = time + _KEY_FRAME_INTERVAL_MS
            video.mux(stream.encode(fitted))
            count += 1
        video.mux(stream.encode(None))
    return count


def _with_first(
    first: tuple[int, av.VideoFrame], rest: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    yield first
    yield from rest


def _end_with_stdin() -> None:
    # Not sys.stdin: its lock, held here, would break the interpreter's own end.
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # libav prints warnings for every frame of a cut-off file.
    av.logging.set_level(av.logging.PANIC)
    try:
        print(transcode(Path(sys.argv[1]), Path(sys.argv[2])))  # noqa: T201  # its answer
    except Unusable as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main())
