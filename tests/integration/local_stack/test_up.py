"""`python -m local_stack up`, the command itself."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    process: asyncio.subprocess.Process
    welcome: str


@contextlib.asynccontextmanager
async def up(state_dir: Path) -> AsyncIterator[Up]:
    """Run the command within the block, from its welcome on; what is left of it at the end is killed."""
    process = await _started(state_dir)
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while "-m asyncio" not in (lines[-1] if lines else ""):
            lines.append((await process.stdout.readline()).decode())
            assert lines[-1], "it ended before it was up"
        yield Up(process=process, welcome="".join(lines))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _started(state_dir: Path) -> asyncio.subprocess.Process:
    options = ("--state-dir", str(state_dir), "--nodes", "1", "--slots", "1")
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "local_stack",
        "up",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def _processes_of(state_dir: Path) -> list[str]:
    """Return the processes whose command or settings name the state folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(state_dir) in word for word in words):
                found.append(" ".join(process.cmdline()))
    return found


async def _until_nothing_runs(state_dir: Path) -> None:
    async def check() -> bool:
        return not await asyncio.to_thread(_processes_of, state_dir)

    await eventually(check, within=10, what="nothing of the stack runs")


def _description(state_dir: Path) -> dict[str, object]:
    content = json.loads((state_dir / "stack.json").read_text())
    assert isinstance(content, dict)
    return content


async def test_up_serves_refuses_a_second_stack_and_leaves_nothing_behind(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    async with up(state_dir) as running:
        description = _description(state_dir)
        assert str(description["api_key"]) in running.welcome
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{description['url']}/readyz")).status_code == httpx.codes.OK

        second = await _started(state_dir)
        output, _ = await second.communicate()
        assert second.returncode == 1
        assert f"process {running.process.pid}) already runs" in output.decode()

        running.process.send_signal(signal.SIGINT)
        await running.process.communicate()
        assert running.process.returncode == 0
        assert _processes_of(state_dir) == []


async def test_after_a_kill_of_the_supervisor_nothing_runs_and_the_next_start_has_the_same_ports_and_key(
    tmp_path: Path,
) -> None:
    state_dir = tmp_path / "state"
    async with up(state_dir) as running:
        before = _description(state_dir)
        running.process.kill()
        await running.process.communicate()
        await _until_nothing_runs(state_dir)
    async with up(state_dir) as running:
        after = _description(state_dir)
        assert (after["ports"], after["api_key"]) == (before["ports"], before["api_key"])
        running.process.send_signal(signal.SIGTERM)
        await running.process.communicate()
        assert running.process.returncode == 0
