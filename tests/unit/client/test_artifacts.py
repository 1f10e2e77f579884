"""Bytes arrive whole, or not at all."""

import hashlib
import logging
from pathlib import Path

import pytest

from browserfleet.artifact.v1 import artifact_pb2
from browserfleet.client import Artifact, ArtifactFailed, Fleet, TransferFailed
from browserfleet.client.transfer import clean_name
from tests.unit.client.blob_server import BlobServer
from tests.unit.client.fleet_double import SESSION_ID, FleetDouble, an_artifact

_BLOB = bytes(range(256)) * 4000


async def the_download(fleet: Fleet, double: FleetDouble, blobs: BlobServer, *, name: str = "a.csv") -> Artifact:
    blobs.blob = _BLOB
    stored = an_artifact(name=name)
    stored.size_bytes = len(_BLOB)
    stored.sha256 = hashlib.sha256(_BLOB).hexdigest()
    double.artifact, double.artifact_pages, double.download_url = stored, [[stored]], blobs.url
    return (await (await fleet.get(SESSION_ID)).downloads())[0]


def in_folder(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_saved_file_has_the_stored_bytes(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    seen: list[tuple[int, int]] = []
    path = await artifact.save(tmp_path / "b.csv", progress=lambda received, total: seen.append((received, total)))
    assert path == tmp_path / "b.csv"
    assert path.read_bytes() == _BLOB
    assert seen[-1] == (len(_BLOB), len(_BLOB))


async def test_a_cut_transfer_goes_on_where_it_broke(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    blobs.cuts = [300_000, 400_000]
    path = await artifact.save(tmp_path / "b.csv")
    assert path.read_bytes() == _BLOB
    assert blobs.ranges == [None, "300000", "700000"]
    # The URL may have expired meanwhile: each attempt asks for a new one.
    assert double.asked("GetArtifact") == 3


async def test_a_server_without_range_makes_the_transfer_start_anew(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    blobs.cuts, blobs.honours_range = [300_000], False
    assert (await artifact.save(tmp_path / "b.csv")).read_bytes() == _BLOB


async def test_an_expired_url_is_replaced(fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path) -> None:
    artifact = await the_download(fleet, double, blobs)
    blobs.refused = [403]
    assert (await artifact.save(tmp_path / "b.csv")).read_bytes() == _BLOB


async def test_a_transfer_without_progress_gives_up_and_leaves_nothing(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    blobs.refused = [503] * 9
    with pytest.raises(TransferFailed, match="503") as caught:
        await artifact.save(tmp_path / "b.csv")
    assert "secret" not in str(caught.value)
    assert in_folder(tmp_path) == []


async def test_wrong_bytes_never_appear_under_the_name(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    blobs.blob = _BLOB[::-1]
    with pytest.raises(TransferFailed, match="not the bytes"):
        await artifact.save(tmp_path / "b.csv")
    assert in_folder(tmp_path) == []


async def test_a_folder_gets_cleaned_and_numbered_names(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs, name="../../etc/report.csv")
    paths = [await artifact.save(tmp_path), await artifact.save(tmp_path)]
    assert paths == [tmp_path / "report.csv", tmp_path / "report (2).csv"]


async def test_a_pending_artifact_is_waited_for(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    await the_download(fleet, double, blobs)
    double.artifact_pages = [[an_artifact(state="PENDING")]]
    artifact = (await (await fleet.get(SESSION_ID)).downloads())[0]
    assert (await artifact.save(tmp_path / "b.csv")).read_bytes() == _BLOB


async def test_a_lost_artifact_cannot_be_saved(fleet: Fleet, double: FleetDouble, tmp_path: Path) -> None:
    lost = artifact_pb2.Artifact(id="art_1", state=artifact_pb2.Artifact.STATE_FAILED, failure_message="node lost")
    double.artifact_pages = [[lost]]
    artifact = (await (await fleet.get(SESSION_ID)).downloads())[0]
    with pytest.raises(ArtifactFailed, match="node lost"):
        await artifact.save(tmp_path / "b.csv")


async def test_an_empty_file_is_saved_without_a_request(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path
) -> None:
    artifact = await the_download(fleet, double, blobs)
    empty = an_artifact()
    empty.sha256 = hashlib.sha256(b"").hexdigest()
    double.artifact_pages = [[empty]]
    artifact = (await (await fleet.get(SESSION_ID)).downloads())[0]
    assert (await artifact.save(tmp_path / "b.csv")).read_bytes() == b""


async def test_signed_urls_are_not_logged(
    fleet: Fleet, double: FleetDouble, blobs: BlobServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    artifact = await the_download(fleet, double, blobs)
    await artifact.save(tmp_path / "b.csv")
    assert "/blob" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("display_name", "name"),
    [
        ("report.csv", "report.csv"),
        ("C:\\users\\me\\report.csv", "report.csv"),
        ("..", "fallback"),
        (".bashrc", "bashrc"),
        ("a\x00b<c>.txt", "a_b_c_.txt"),
        ("é" * 200 + ".csv", "é" * 98 + ".csv"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_cleaned_name_is_safe_in_any_folder(display_name: str, name: str) -> None:
    assert clean_name(display_name, "fallback") == name
