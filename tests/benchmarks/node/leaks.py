"""Waves of sessions, half of them ended hard, and what is left: `python -m tests.benchmarks.node.leaks`.

Writes `bench-output/leaks.json`, and exits with 1 when anything is left or the node's memory grows by more than its
goal for each wave.
"""

import argparse
import asyncio
import collections
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from tests.support.fake_fleet import NodeProcess, a_fleet
from tests.support.leak_waves import Waves
from tests.support.leftovers import resident_bytes
from tests.support.real_browsers import short_folder

_GROWTH_BYTES = 2 << 20
# The first wave fills caches that later ones use.
_WARMING = 1


async def measure(*, waves: int, sessions: int, seed: int) -> dict[str, object]:
    """Run the waves; return what was left after each."""
    async with a_fleet() as fleet:
        with short_folder() as folder:
            node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra={"LOG_LEVEL": "WARNING"})
            async with node.ended_at_last():
                await node.start()
                run = Waves(node, chance=random.Random(seed))
                await run.run(sessions=2)
                first = await run.settled()
                rows = []
                for number in range(1, waves + 1):
                    await run.run(sessions=sessions)
                    left = await run.settled(first)
                    memory = await asyncio.to_thread(resident_bytes, node.pid)
                    rows.append({"wave": number, "memory": memory, **asdict(left)})
                    print(f"wave {number}: {left}, {memory / (1 << 20):.1f} MiB", flush=True)
                return {
                    "sessions": waves * sessions,
                    "harms": collections.Counter(run.harms),
                    "releases_ms": summary(run.release_seconds),
                    "waves": rows,
                }


def summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(second * 1000 for second in seconds)
    return {"p50": round(ordered[len(ordered) // 2], 1), "most": round(ordered[-1], 1)}


def growth(rows: list[dict[str, int]]) -> float:
    """Return by how many bytes the node grew for each wave after the first."""
    later = rows[_WARMING - 1 :]
    return (later[-1]["memory"] - later[0]["memory"]) / max(1, len(later) - 1)


def main() -> None:
    """Parse the arguments, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waves", type=int, default=6)
    parser.add_argument("--sessions", type=int, default=10, help="of each wave")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = asyncio.run(measure(waves=options.waves, sessions=options.sessions, seed=options.seed))
    rows = result["waves"]
    assert isinstance(rows, list)
    result["growth_bytes_a_wave"] = grown = growth(rows)
    output = Path("bench-output") / "leaks.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['sessions']} sessions, {dict(collections.Counter(result['harms']))}")  # type: ignore[call-overload]  # a Counter
    print(f"releases: {result['releases_ms']} ms; the node grows by {grown / (1 << 20):.2f} MiB a wave")
    sys.exit(grown > _GROWTH_BYTES)


if __name__ == "__main__":
    main()
