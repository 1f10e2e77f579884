from pathlib import Path

import av
import pytest

from browser_node.adapters.chromium.pictures.jpeg import jpeg_size
from browser_node.adapters.chromium.pictures.matroska import MatroskaFile
from tests.support.artifact_recordings import jpeg


def times_ms(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [int(frame.time * 1000 + 0.5) for frame in container.decode(video=0)]


def test_pictures_keep_their_times_and_the_last_one_stays_until_the_end(tmp_path: Path) -> None:
    file = MatroskaFile(tmp_path / "x.open")
    for at_ms in (0, 200, 200, 150, 900):
        file.add(jpeg(64, 48, phase=at_ms), at_ms)
    file.close(1500)

    # A time that does not grow is moved behind the one before.
    assert times_ms(tmp_path / "x.open") == [0, 200, 201, 202, 900, 1500]
    assert file.frame_count == 5


def test_a_file_without_an_end_can_be_played(tmp_path: Path) -> None:
    file = MatroskaFile(tmp_path / "whole")
    for number in range(20):
        file.add(jpeg(320, 240, phase=number), number * 200)
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes())
    file.close(4000)

    assert len(times_ms(tmp_path / "cut")) >= 18


def test_the_size_is_read_from_the_picture() -> None:
    assert jpeg_size(jpeg(320, 200)) == (320, 200)
    with pytest.raises(ValueError, match="no JPEG"):
        jpeg_size(b"\xff\xd8nonsense and more of it")
