"""Browsers that hang, and machines where a browser's sandbox cannot be had."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from browserfleet.session.v1 import session_pb2
from tests.support.fake_fleet import FakeFleet, NodeProcess, a_fleet
from tests.support.node_fakes import SESSION
from tests.support.real_browsers import chrome_program, processes_of, short_folder, until_ended
from tests.support.waiting import until

_UNSANDBOXED_ONLY = """#!/bin/sh
case " $* " in
*" --no-sandbox "*) exec {program} "$@" ;;
*) echo "No usable sandbox!" >&2; exit 1 ;;
esac
"""


@pytest.fixture
async def fleet() -> AsyncIterator[FakeFleet]:
    async with a_fleet() as fleet:
        yield fleet


def a_browser_without_sandbox(folder: Path) -> Path:
    """Chrome as it is where the kernel refuses its sandbox: it comes up only when it may do without."""
    script = folder / "chrome"
    script.write_text(_UNSANDBOXED_ONLY.format(program=chrome_program()))
    script.chmod(0o755)
    return script


async def test_a_browser_that_stops_answering_is_reported_and_ended(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        node = NodeProcess(fleet=fleet, state_dir=folder / "state")
        async with node.ended_at_last():
            await node.start()
            await node.start_browser()
            main = await asyncio.to_thread(node.browser_pid)
            pids = [info.pid for info in await asyncio.to_thread(processes_of, main)]
            os.kill(main, signal.SIGSTOP)

            # Five silent looks of 0.9 s each, one before they begin, and the report.
            await until(lambda: any(report.ended for report in fleet.heartbeats), within=6.5)
            [ended] = next(list(report.ended) for report in fleet.heartbeats if report.ended)
            assert (ended.session_id, ended.close_reason) == (SESSION, session_pb2.CLOSE_REASON_BROWSER_CRASHED)
            assert "stopped answering" in ended.message
            await until_ended(pids, within=10)


async def test_a_node_does_not_start_where_no_browser_has_its_sandbox(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        extra = {"FLEET_CHROME_BINARY": str(await asyncio.to_thread(a_browser_without_sandbox, folder))}
        process = await NodeProcess(fleet=fleet, state_dir=folder / "state", extra=extra).spawn()
        async with asyncio.timeout(40):
            assert await process.wait() == 1
    assert fleet.registrations == []


async def test_a_browser_without_its_sandbox_says_so_where_the_operator_allowed_it(fleet: FakeFleet) -> None:
    with short_folder() as folder:
        extra = {
            "FLEET_CHROME_BINARY": str(await asyncio.to_thread(a_browser_without_sandbox, folder)),
            "FLEET_ALLOW_NO_SANDBOX": "true",
        }
        node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra=extra)
        async with node.ended_at_last():
            await node.start()
            browser = await node.start_browser()
            assert not browser.sandboxed
