"""Write what the benchmarks measured into README.md and docs/ between their marks.

    python docs/speed.py            write the tables
    python docs/speed.py --check    say whether they are those of benchmarks/results

A mark is <!-- speed:SCRIPT:FILE -->: the table that benchmarks/SCRIPT.py makes of results/FILE.
What `pneumoseg bench` found is a mark <!-- speed:bench:bench/bench.json -->.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

from pneumoseg.installation.bench.result import Bench, read_bench

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGES = ("README.md", "docs/speed.md")
MARKS = re.compile(r"(<!-- speed:(\w+):([\w./]+) -->\n).*?(<!-- /speed -->)", re.DOTALL)


def table(script: str, file: str) -> str:
    """The table of one result; where it is missing, that it is."""
    path = BENCHMARKS / "results" / file
    if not path.exists():
        return "\nNot measured.\n\n"
    if script == "bench":
        return f"\n{bill(read_bench(path))}\n\n"
    spec = importlib.util.spec_from_file_location(script, BENCHMARKS / f"{script}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report = json.loads(path.read_text(encoding="utf-8"))
    return f"\n{module.table(report)}\n\n"


def bill(bench: Bench) -> str:
    """What the cascade costs and saves."""
    measured, machine = bench.measured, bench.machine
    lines = [
        f"Bundle {measured.bundle} {measured.bundle_version}, {measured.runtime} "
        f"{measured.precision}, {measured.streams} streams; {machine.processor}, {machine.cores} "
        f"cores; {bench.films.n} {bench.films.origin}. {bench.conclusion}",
        "",
        "| prevalence | suspected (95 %) | cascade | always segment | saved |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.prevalence:.0%} | {row.pass_rate:.0%} ({row.pass_rate_low:.0%} to "
        f"{row.pass_rate_high:.0%}) | {row.cascade_ms:.0f} ms | {row.always_ms:.0f} ms | "
        f"{row.saved:+.0%} |"
        for row in bench.savings
    ]
    return "\n".join(lines)


def main() -> int:
    """Write or check every page."""
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        new = MARKS.sub(lambda m: m[1] + table(m[2], m[3]) + m[4], text)
        if new != text:
            stale.append(page)
            if sys.argv[1:] != ["--check"]:
                path.write_text(new, encoding="utf-8")
    if sys.argv[1:] == ["--check"] and stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run python docs/speed.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
