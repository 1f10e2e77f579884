"""Rows of a benchmark: printed as a table, written as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure beside its floor, both measured in turns in the same run.

    `goal` is the highest ratio that is good enough; `value` and `floor` are in `unit`.
    """

    metric: str
    value: float
    unit: str
    floor: float
    goal: float

    @property
    def ratio(self) -> float:
        return self.value / self.floor

    @property
    def ok(self) -> bool:
        return self.ratio <= self.goal


def print_table(rows: list[Row]) -> None:
    width = max(len(row.metric) for row in rows)
    print(f"{'metric':{width}}  {'value':>10}  {'floor':>10}  unit  {'ratio':>7}  {'goal':>6}  ok")
    for row in rows:
        mark = "yes" if row.ok else "NO"
        print(
            f"{row.metric:{width}}  {row.value:10.3f}  {row.floor:10.3f}  {row.unit:4}"
            f"  {row.ratio:7.3f}  {row.goal:6.3g}  {mark}"
        )


def write_json(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    content = [{**asdict(row), "ratio": row.ratio, "ok": row.ok} for row in rows]
    path.write_text(json.dumps(content, indent=2) + "\n")
