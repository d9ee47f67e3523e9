"""Which streams and batches keep this processor busiest: both networks alone, on random arrays.

    python -P benchmarks/streams.py [--seconds 120]
    python -P benchmarks/streams.py --table          the Markdown table, from the JSON alone

Every pairing is a loaded network that is given sixteen films by as many callers as ``predict``
has (two where it has several streams); all pairings take turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.bundle import load_bundle
from pneumoseg.installation.bench.machine import this_machine
from pneumoseg.installation.bench.timing import Timing, time_in_turn
from pneumoseg.runtime import Network, available_cores, load_network

RESULT = Path(__file__).parent / "results" / "streams.json"
FILMS, SEED = 16, 7
BATCHES = (1, 4, 8, 16)


def work_of(network: Network, batch: int, films: NDArray[np.float32]) -> Callable[[int], object]:
    """Films through a network, in batches, from as many threads as predict would take."""
    batches = [films[first : first + batch] for first in range(0, len(films), batch)]
    callers = ThreadPoolExecutor(2 if network.streams > 1 else 1)
    return lambda number: list(callers.map(network.run, batches))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time every pairing in turn."""
    bundle = load_bundle(arguments.bundle)
    noise = np.random.default_rng(SEED)
    machine = this_machine()
    steps: dict[str, Callable[[int], object]] = {}
    streams_of = sorted({1, min(available_cores(), 4)})
    for name in ("classifier", "segmenter"):
        for streams in streams_of:
            network = load_network(
                getattr(bundle, f"{name}_path"), precision=arguments.precision, streams=streams
            )
            shape = (FILMS, 1, network.size, network.size)
            films = noise.normal(size=shape).astype(np.float32)
            for batch in BATCHES:
                steps[f"{name}, {streams} streams, batch {batch}"] = work_of(network, batch, films)
    for work in steps.values():
        work(0)
    taken = time_in_turn(steps, seconds=arguments.seconds)
    rows = [
        {"network": name.split(",")[0], "streams": int(name.split()[1]),
         "batch": int(name.split()[-1]), **asdict(Timing.of(name, seconds, FILMS))}
        for name, seconds in taken.items()
    ]  # fmt: skip
    return {
        "bundle": f"{bundle.card.name} {bundle.card.version}",
        "precision": arguments.precision,
        "rows": rows,
        "machine": asdict(machine),
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: ms a film, median (quartiles)."""
    machine = report["machine"]
    lines = [
        f"Bundle {report['bundle']}, OpenVINO {report['precision']}; {machine['processor']}, "
        f"{machine['cores']} cores; ms a film, median (quartiles) of "
        f"{report['rows'][0]['repeats']} rounds.",
        "",
        f"| network, streams | {' | '.join(f'batch {batch}' for batch in BATCHES)} |",
        f"|---|{'---|' * len(BATCHES)}",
    ]
    pairs = dict.fromkeys((row["network"], row["streams"]) for row in report["rows"])
    for network, streams in pairs:
        cells = [
            f"{row['median_ms']:.1f} ({row['lower_quartile_ms']:.1f} to "
            f"{row['upper_quartile_ms']:.1f})"
            for row in report["rows"]
            if (row["network"], row["streams"]) == (network, streams)
        ]
        lines.append(f"| {network}, {streams} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        text = json.dumps(measure(arguments), indent=1, ensure_ascii=False) + "\n"
        arguments.out.write_text(text, encoding="utf-8")
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
