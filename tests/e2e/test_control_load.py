"""The load driver in small: every figure is there, and nothing is lost on the way."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).resolve().parents[2]
_SIZE = ("--nodes", "20", "--sessions", "100", "--seconds", "0.3", "--patience", "0")
_FIGURES = {
    "empty call, bare server",
    "empty call, our server",
    "bare transaction",
    "bare transaction p50",
    "bare transaction p99",
    "creates, most",
    "creates, share of bare transactions",
    "create, CPU of session-api",
    "create, CPU of postgres",
    "create at half load, p50",
    "create at half load, p99",
    "get p99",
    "list of 50 p50",
    "list of 50 p99",
    "watch lag p50 at 100 changes/s",
    "watch lag p99 at 100 changes/s",
    "heartbeats, most",
    "heartbeat, CPU of session-api",
    "at rest, session-api",
    "at rest, reaper",
    "memory of session-api",
    "memory of reaper",
    "sockets of session-api",
    "CPU of a create at 20 nodes, against 2",
    "CPU of a create at 100 sessions, against 10",
}


async def test_a_small_load_gives_every_figure_and_loses_no_session_slot_or_event(tmp_path: Path) -> None:
    output = tmp_path / "control.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.control", *_SIZE, "--output", str(output), cwd=_ROOT
    )
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    found = json.loads(await asyncio.to_thread(output.read_text))

    figures = {figure["metric"]: figure["value"] for figure in found["figures"]}
    assert figures.keys() >= _FIGURES
    assert figures["reads that failed"] == 0
    assert figures["changes that never came"] == 0
    assert [(point["nodes"], point["sessions"]) for point in found["curve"]] == [(2, 10), (20, 10), (20, 100)]
    assert [invariant["name"] for invariant in found["invariants"] if not invariant["ok"]] == []
    assert len(found["invariants"]) >= 15
