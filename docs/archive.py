"""What a million films cost, from measured rates alone: the table in docs/archive.md.

    python docs/archive.py            write the table
    python docs/archive.py --check    say whether it is that of the measurements

Rates are those of ``pneumoseg predict`` in ``benchmarks/results/predict.json``
(``benchmarks/predict.py``) and, measured the same way on a machine with a GPU, in
``predict_gpu.json`` beside it. A row whose file is not there says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/archive.md"
BEGIN, END = "<!-- cost -->\n", "<!-- /cost -->"
FILMS = 1_000_000
MACHINES = (
    ("one machine", 1, "predict.json"),
    ("ten such machines", 10, "predict.json"),
    ("one machine with a GPU", 1, "predict_gpu.json"),
)
HEADER = (
    f"| {FILMS:,} films on | films a second on one (range) | hours (range) | machine-hours |\n"
    "|---|---|---|---|\n"
)


def hours(films: int, machines: int, rate: float) -> float:
    """Hours for films at a rate (films a second on one machine), nothing lost in between."""
    return films / (3600 * machines * rate)


def row(name: str, machines: int, report: dict[str, Any] | None) -> str:
    """One row of the table."""
    if report is None:
        return f"| {name} | not measured | | |\n"
    rate = report["contestants"]["pneumoseg predict"]["images_per_second"]
    took = {each: hours(FILMS, machines, rate[each]) for each in ("median", "low", "high")}
    return (
        f"| {name} | {rate['median']:.2f} ({rate['low']:.2f} to {rate['high']:.2f}) "
        f"| {took['median']:.1f} ({took['high']:.1f} to {took['low']:.1f}) "
        f"| {machines * took['median']:.1f} |\n"
    )


def measured_on(report: dict[str, Any]) -> str:
    """What the rates hold for, one sentence."""
    machine = report["machine"]
    return (
        f"Measured on {machine['processor']}, {machine['cores']} cores, {report['runtime']} "
        f"{report['precision']}, bundle {report['bundle']}: {report['images']} {report['films']}, "
        f"{report['pass_rate']:.0%} suspected, {report['repeats']} repeats.\n"
    )


def block(results: Path) -> str:
    """The table and what it was measured on."""
    reports = {}
    for name in dict.fromkeys(file for _, _, file in MACHINES):
        path = results / name
        reports[name] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    rows = "".join(row(name, machines, reports[file]) for name, machines, file in MACHINES)
    notes = "\n".join(measured_on(report) for report in reports.values() if report is not None)
    return f"\n{HEADER}{rows}\n" + (f"{notes}\n" if notes else "")


def main() -> int:
    """Write the page, or compare it."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + block(ROOT / "benchmarks/results") + END + after
    if sys.argv[1:] == ["--check"]:
        if page != wanted:
            sys.exit("docs/archive.md is not that of the measurements; run python docs/archive.py")
        return 0
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
