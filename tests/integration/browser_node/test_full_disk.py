"""Disks that are really full: small ones of memory, mounted for the test."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from browser_node.adapters.disk_spool import DiskSpool
from browser_node.domain.browser import CloseReason
from fleetkit.ids import RandomIds
from tests.support.node_fakes import an_artifact
from tests.support.real_browsers import hosting_real_browsers, short_folder
from tests.support.waiting import until


@asynccontextmanager
async def a_small_disk(folder: Path, size: str) -> AsyncIterator[None]:
    assert os.geteuid() == 0, "mounting takes root: sudo make test"
    await run("mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", str(folder))
    try:
        yield
    finally:
        await run("umount", "--lazy", str(folder))


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def test_a_download_that_does_not_fit_is_not_stored_in_half() -> None:
    with short_folder() as root:
        (root / "spool").mkdir()
        async with a_small_disk(root / "spool", "1m"):
            spool = DiskSpool(root / "spool", ids=RandomIds())
            await spool.recover()
            await asyncio.to_thread((root / "large").write_bytes, b"x" * (4 << 20))
            await asyncio.to_thread((root / "small").write_bytes, b"x")

            with pytest.raises(OSError, match="No space"):
                await spool.take(root / "large", an_artifact(), owner=None)

            # What fits is taken, and a restart finds nothing else.
            await spool.take(root / "small", an_artifact(), owner=None)
            again = DiskSpool(root / "spool", ids=RandomIds())
            await again.recover()
            assert again.waiting == 1
            assert (await again.next()).size_bytes == 1


async def test_on_a_full_disk_a_browser_comes_up_all_the_same_and_its_end_says_what_was_wrong() -> None:
    async with hosting_real_browsers() as host, a_small_disk(host.scratch, "64k"):
        browser = await host.start()

        os.kill(browser.pid, signal.SIGKILL)

        await until(host.browsers.unreported)
        assert [browser.end.reason for browser in host.browsers.unreported()] == [CloseReason.DISK_FULL]
        await host.browsers.wait_empty()
        assert list(host.scratch.iterdir()) == []
