"""Raw recordings as nodes make them: JPEG frames in Matroska, at their own times."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av

_TIME_BASE = Fraction(1, 1000)


def jpeg(width: int, height: int, *, phase: int = 0) -> bytes:
    """Return a JPEG of a test picture; another `phase`, another picture."""
    frame = av.VideoFrame(width, height, "yuvj420p")
    for number, plane in enumerate(frame.planes):
        size = plane.line_size * plane.height
        row = bytes((column * 3 + phase * 40 + number * 60) % 256 for column in range(plane.line_size))
        plane.update((row * plane.height)[:size])
    encoder = av.codec.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", _TIME_BASE
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def a_recording(times_ms: Sequence[int], *, sizes: Sequence[tuple[int, int]] = ((640, 360),)) -> bytes:
    """Return a raw recording with a frame at each time; the sizes are gone through in turn."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska", options={"live": "1", "cluster_time_limit": "1000"}) as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height = sizes[0]
        stream.pix_fmt = "yuvj420p"
        stream.time_base = _TIME_BASE
        for number, time in enumerate(times_ms):
            width, height = sizes[number % len(sizes)]
            packet = av.Packet(jpeg(width, height, phase=number))
            packet.stream, packet.time_base = stream, _TIME_BASE
            packet.pts = packet.dts = time
            packet.is_keyframe = True
            container.mux(packet)
    return file.getvalue()
