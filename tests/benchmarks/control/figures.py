"""Figures of a run: printed as a table, written as JSON."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, and its floor in the same unit where one fits, measured in the same run.

    The goal is a bound of the value, from below or from above; most figures have none.
    """

    metric: str
    value: float
    unit: str
    floor: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def ok(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most if self.at_most is not None else None

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What a create costs in a fleet of one size, less what the same fleet costs without creates.

    Processor time is in milliseconds a create, its events' way to NATS included; latency in milliseconds.
    """

    nodes: int
    sessions: int
    session_api_cpu: float
    postgres_cpu: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """Something that must hold whatever the load: two counts that are equal."""

    name: str
    expected: int
    found: int

    @property
    def ok(self) -> bool:
        return self.expected == self.found


def print_figures(figures: Sequence[Figure]) -> None:
    width = max(len(figure.metric) for figure in figures)
    print(f"{'metric':{width}}  {'value':>10}  {'floor':>10}  {'unit':9}  {'ratio':>8}  {'goal':>8}  ok")
    for figure in figures:
        floor = f"{figure.floor:10.3f}" if figure.floor is not None else " " * 10
        ratio = f"{figure.ratio:8.3f}" if figure.ratio is not None else " " * 8
        mark = {True: "yes", False: "NO", None: ""}[figure.ok]
        print(
            f"{figure.metric:{width}}  {figure.value:10.3f}  {floor}  {figure.unit:9}  {ratio}  {figure.goal:>8}  {mark}"
        )


def print_curve(points: Sequence[CurvePoint]) -> None:
    print("\ncost of a create   nodes  sessions  session-api ms  postgres ms  p50 ms  p99 ms")
    for point in points:
        print(
            f"{'':17}  {point.nodes:6}  {point.sessions:8}  {point.session_api_cpu:14.2f}  {point.postgres_cpu:11.2f}"
            f"  {point.p50:6.1f}  {point.p99:6.1f}"
        )


def print_invariants(invariants: Sequence[Invariant]) -> None:
    print()
    for invariant in invariants:
        mark = "ok" if invariant.ok else "BROKEN"
        print(f"{mark:6}  {invariant.name}: {invariant.found} of {invariant.expected}")


def write_json(
    path: Path,
    *,
    options: Mapping[str, object],
    figures: Sequence[Figure],
    curve: Sequence[CurvePoint],
    invariants: Sequence[Invariant],
) -> None:
    """Write everything that was printed, and on what machine it was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": {
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "python": platform.python_version(),
        },
        "options": options,
        "figures": [{**asdict(figure), "ratio": figure.ratio, "ok": figure.ok} for figure in figures],
        "curve": [asdict(point) for point in curve],
        "invariants": [{**asdict(invariant), "ok": invariant.ok} for invariant in invariants],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
