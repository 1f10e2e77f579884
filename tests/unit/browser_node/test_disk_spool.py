import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from browser_node.adapters.disk_spool import DiskSpool
from browser_node.usecases.uploads import Uploads
from fleetkit.errors import InvalidArgument, Unavailable
from fleetkit.ids import RandomIds
from tests.support.node_fakes import FakeArtifactStore, an_artifact
from tests.support.waiting import until


async def a_spool(folder: Path) -> DiskSpool:
    spool = DiskSpool(folder / "spool", ids=RandomIds())
    await spool.recover()
    return spool


async def test_a_file_that_was_taken_is_given_out_with_its_sum(tmp_path: Path) -> None:
    spool = await a_spool(tmp_path)
    source = tmp_path / "guid"
    source.write_bytes(b"a,b\n")

    await spool.take(source, an_artifact(), owner=os.geteuid())

    item = await spool.next()
    assert (item.size_bytes, item.sha256) == (4, hashlib.sha256(b"a,b\n").hexdigest())
    assert item.artifact == an_artifact()
    assert not source.exists()
    assert item.path.stat().st_mode & 0o777 == 0o600


async def test_links_and_files_of_others_are_not_taken(tmp_path: Path) -> None:
    spool = await a_spool(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "symlink").symlink_to(secret)
    (tmp_path / "hardlink").hardlink_to(secret)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "foreign").write_text("x")

    for name in ("symlink", "hardlink", "fifo"):
        with pytest.raises((OSError, ValueError)):
            await spool.take(tmp_path / name, an_artifact(), owner=None)
    with pytest.raises(ValueError, match="own"):
        await spool.take(tmp_path / "foreign", an_artifact(), owner=os.geteuid() + 1)

    assert spool.waiting == 0


async def test_files_survive_a_restart_of_the_node(tmp_path: Path) -> None:
    first = await a_spool(tmp_path)
    (tmp_path / "guid").write_bytes(b"complete")
    await first.take(tmp_path / "guid", an_artifact(), owner=None)
    (await first.open(an_artifact(name="run.mkv"))).write_bytes(b"not finished")
    await first.open(an_artifact(name="empty.mkv"))

    second = await a_spool(tmp_path)

    items = [await second.next() for _ in range(second.waiting)]
    assert {(item.artifact.display_name, item.path.read_bytes()) for item in items} == {
        ("report.csv", b"complete"),
        ("run.mkv", b"not finished"),
    }


async def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    spool = await a_spool(tmp_path)
    path = await spool.open(an_artifact())

    await spool.discard(path)

    assert [entry.name for entry in (tmp_path / "spool").iterdir()] == ["refused"]


async def test_uploads_outlast_an_outage_of_the_store(tmp_path: Path) -> None:
    spool, store = await a_spool(tmp_path), FakeArtifactStore()
    store.errors = [Unavailable("away")]
    path = await spool.open(an_artifact())
    path.write_bytes(b"bytes")
    await spool.commit(path)
    uploading = asyncio.create_task(Uploads(queue=spool, store=store).run())

    await asyncio.wait_for(store.changed.wait(), 10)
    await until(lambda: not spool.waiting)

    assert store.tried == 2
    assert store.stored[0][1] == b"bytes"
    assert [entry.name for entry in (tmp_path / "spool").iterdir()] == ["refused"]
    uploading.cancel()
    await asyncio.wait({uploading})


async def test_what_is_refused_for_good_is_kept_aside(tmp_path: Path) -> None:
    spool, store = await a_spool(tmp_path), FakeArtifactStore()
    store.errors = [InvalidArgument("never")]
    path = await spool.open(an_artifact())
    path.write_bytes(b"bytes")
    await spool.commit(path)
    uploading = asyncio.create_task(Uploads(queue=spool, store=store).run())

    await until(lambda: not spool.waiting)

    refused = {entry.suffix for entry in (tmp_path / "spool" / "refused").iterdir()}
    assert refused == {"", ".json", ".why"}
    uploading.cancel()
    await asyncio.wait({uploading})
