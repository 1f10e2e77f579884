"""Videos made by the real process of real recordings."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import av
import psutil
import pytest

from artifact_store.adapters.video_process import ProcessVideoMaker
from artifact_store.domain.errors import VideoBroken
from tests.support.artifact_fakes import chunks_of
from tests.support.artifact_recordings import a_recording
from tests.support.waiting import eventually

TIMES = [0, 200, 400, 3000, 3100, 9000, 9001, 12000]


@pytest.fixture
def videos(tmp_path: Path) -> ProcessVideoMaker:
    maker = ProcessVideoMaker(scratch=tmp_path / "scratch", timeout=timedelta(seconds=60))
    maker.prepare()
    return maker


async def _webm(videos: ProcessVideoMaker, raw: bytes) -> bytes:
    async with videos.webm(chunks_of(raw, chunk=100_000)) as video:
        return b"".join([chunk async for chunk in video])


def _packets(video: bytes) -> list[tuple[int, bool]]:
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        return [
            (round(packet.pts * packet.time_base * 1000), packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.time_base is not None
        ]


async def test_a_video_keeps_the_times_of_its_frames(videos: ProcessVideoMaker) -> None:
    video = await _webm(videos, a_recording(TIMES))
    assert [time for time, _ in _packets(video)] == TIMES
    with av.open(io.BytesIO(video), "r") as container:
        assert container.format.name == "matroska,webm"
        assert container.streams.video[0].codec_context.name == "vp9"
        assert container.duration is not None
        assert 12_000_000 <= container.duration < 12_200_000


async def test_frames_are_key_frames_only_every_five_seconds(videos: ProcessVideoMaker) -> None:
    packets = _packets(await _webm(videos, a_recording(TIMES)))
    assert [time for time, is_key in packets if is_key] == [0, 9000]


async def test_the_index_comes_before_the_frames_so_that_players_can_seek(videos: ProcessVideoMaker) -> None:
    video = await _webm(videos, a_recording(TIMES))
    cues, cluster = bytes.fromhex("1c53bb6b"), bytes.fromhex("1f43b675")
    assert video[: video.index(cluster)].count(cues) == 2  # once in the table of contents, once itself


async def test_a_recording_that_begins_late_begins_at_zero(videos: ProcessVideoMaker) -> None:
    assert [time for time, _ in _packets(await _webm(videos, a_recording([5000, 5100])))] == [0, 100]


async def test_frames_of_other_sizes_are_fitted_into_the_first(videos: ProcessVideoMaker) -> None:
    video = await _webm(videos, a_recording([0, 100, 200], sizes=[(641, 361), (300, 500), (1280, 720)]))
    with av.open(io.BytesIO(video), "r") as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(640, 360)] * 3
    # The tall frame has black bars left and right.
    assert bytes(frames[1].planes[0])[0] <= 20


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
async def test_a_recording_that_was_cut_off_gives_the_frames_that_are_there(
    videos: ProcessVideoMaker, share: float
) -> None:
    times = list(range(0, 4000, 200))
    raw = a_recording(times)
    seen = [time for time, _ in _packets(await _webm(videos, raw[: int(len(raw) * share)]))]
    assert seen == times[: len(seen)]
    assert len(seen) >= int(len(times) * share) - 1


@pytest.mark.parametrize("raw", [b"", b"garbage" * 1000, a_recording([0])[:600]], ids=["empty", "garbage", "no frame"])
async def test_what_holds_no_frame_is_broken(videos: ProcessVideoMaker, raw: bytes) -> None:
    with pytest.raises(VideoBroken, match="recording"):
        await _webm(videos, raw)


async def test_a_damaged_frame_in_the_middle_costs_that_frame_at_most(videos: ProcessVideoMaker) -> None:
    raw = bytearray(a_recording([0, 200, 400]))
    second = raw.index(b"\xff\xd8", raw.index(b"\xff\xd8") + 2)
    raw[second : second + 200] = bytes(200)
    assert {0, 400} <= {time for time, _ in _packets(await _webm(videos, bytes(raw)))}


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    videos = ProcessVideoMaker(scratch=tmp_path / "scratch", timeout=timedelta(milliseconds=10))
    await asyncio.to_thread(videos.prepare)
    with pytest.raises(VideoBroken, match="longer than"):
        await _webm(videos, a_recording(TIMES))
    assert _transcoders() == []


async def test_cancelling_ends_the_process_and_leaves_no_files(videos: ProcessVideoMaker, tmp_path: Path) -> None:
    making = asyncio.create_task(_webm(videos, a_recording(list(range(0, 60_000, 100)))))

    async def has_begun() -> bool:
        return bool(_transcoders())

    await eventually(has_begun, within=20, what="the process runs")
    making.cancel()
    await asyncio.wait({making})
    assert making.cancelled()
    assert _transcoders() == []
    assert os.listdir(tmp_path / "scratch") == []  # noqa: PTH208  # names suffice


async def _no_raw_bytes() -> AsyncIterator[bytes]:
    raise ConnectionError("the store went away")
    yield b""


async def test_a_source_that_fails_leaves_no_files(videos: ProcessVideoMaker, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        async with videos.webm(_no_raw_bytes()):
            pass
    assert list((tmp_path / "scratch").iterdir()) == []


def _transcoders() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if child.is_running() and "artifact_store.transcode" in child.cmdline()]
