"""The demo as a user runs it."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

_DEMO_TIMEOUT_SECONDS = 200


async def start_demo(tmp_path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "local_stack.demo",
        *("--state-dir", str(tmp_path / "state"), "--output-dir", str(tmp_path / "output")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def processes_of(state_dir: Path) -> list[str]:
    """Command lines of all processes on this machine that name the stack's folder or a Chrome's folder in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(state_dir) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(command)
    return found


@pytest.mark.timeout(240)
async def test_the_demo_passes_every_check_and_leaves_no_process(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path)
    async with asyncio.timeout(_DEMO_TIMEOUT_SECONDS):
        output, _ = await demo.communicate()
    told = output.decode()
    summary = json.loads((tmp_path / "output" / "summary.json").read_text())
    assert [check["name"] for check in summary if not check["ok"]] == [], told
    assert demo.returncode == 0, told
    assert told.splitlines()[-1] == f"{len(summary)} passed, 0 failed"
    assert {path.name for path in (tmp_path / "output").iterdir()} == {
        "orders.csv",
        "run-1.webm",
        "run-2.webm",
        "summary.json",
    }
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(120)
async def test_an_interrupted_demo_stops_everything_and_does_not_pass(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path)
    assert demo.stdout is not None
    async with asyncio.timeout(90):
        async for line in demo.stdout:
            if b"the stack starts" in line:
                break
        running = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        await demo.communicate()
    assert demo.returncode == 130
    assert [process for process in running if process.is_running()] == []
    assert processes_of(tmp_path) == []
