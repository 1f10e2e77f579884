"""How large a run is."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from local_stack.options import StackOptions

# At each point of the curve creates come at this pace, which every size can bear: only their cost differs.
CURVE_RATE = 100.0
_SMALLEST_FLEET, _FEWEST_SESSIONS = 2, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """`window` is how long each figure is measured; `output` is where the JSON goes."""

    nodes: int = 1000
    sessions: int = 10_000
    window: timedelta = timedelta(seconds=10)
    replicas: int = 1
    output: Path = Path("bench-output") / "control.json"
    # Before each measurement: how long to wait for other programs of this machine to be done.
    patience: timedelta = timedelta(seconds=60)
    # Kept afterwards, with the logs of every process; None: a scratch folder.
    state_dir: Path | None = None

    @property
    def node_steps(self) -> list[int]:
        """Sizes of the fleet on the curve, the last one whole."""
        return sorted({max(_SMALLEST_FLEET, self.nodes // part) for part in (100, 10, 1)})

    @property
    def session_steps(self) -> list[int]:
        """Numbers of open sessions on the curve, the last one whole."""
        return sorted({max(_FEWEST_SESSIONS, self.sessions // part) for part in (100, 10, 1)})

    @property
    def slots(self) -> int:
        """Room on a node: for twice what it will hold, and for what the smallest fleet holds on the curve."""
        on_the_curve = self.session_steps[0] + CURVE_RATE * self.window.total_seconds()
        return math.ceil(2 * max(self.sessions / self.nodes, on_the_curve / self.node_steps[0]))

    def stack(self, state_dir: Path) -> StackOptions:
        """Return the options of the local stack's building blocks."""
        return StackOptions(state_dir=state_dir, nodes=1)


def parse(arguments: Sequence[str] | None = None) -> LoadOptions:
    """Read the command line."""
    default = LoadOptions()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.control", description=__doc__)
    parser.add_argument("--nodes", type=int, default=default.nodes, help="nodes of the whole fleet")
    parser.add_argument("--sessions", type=int, default=default.sessions, help="open sessions at the end of the curve")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each figure is measured")
    parser.add_argument("--replicas", type=int, default=default.replicas, help="session-api processes")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--output", type=Path, default=default.output, help="the JSON file to write")
    parser.add_argument("--state-dir", type=Path, help="keep data and logs here")
    chosen = parser.parse_args(arguments)
    return LoadOptions(
        nodes=max(_SMALLEST_FLEET, chosen.nodes),
        sessions=max(_FEWEST_SESSIONS, chosen.sessions),
        window=timedelta(seconds=chosen.seconds),
        replicas=max(1, chosen.replicas),
        patience=timedelta(seconds=chosen.patience),
        output=chosen.output,
        state_dir=chosen.state_dir,
    )
