"""Where a network's time goes: OpenVINO's own clock of its kernels, summed by kind.

    python -P benchmarks/layers.py
    python -P benchmarks/layers.py --table           the Markdown table, from the JSON alone

One film at a time on one thread, as each stream of ``pneumoseg predict`` works; float32.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg.bundle import load_bundle
from pneumoseg.installation.bench.machine import this_machine
from pneumoseg.runtime import load_network

RESULT = Path(__file__).parent / "results" / "layers.json"
FILMS, SHOWN = 40, 6


def kind_of(node: Any) -> str:
    """What a kernel does, from OpenVINO's names for it."""
    kernel = node.exec_type
    if "dw" in kernel:
        return "depthwise convolution"
    if "1x1" in kernel:
        return "1×1 convolution"
    if node.node_type in ("Convolution", "FullyConnected", "MatMul"):
        return {"Convolution": "other convolution"}.get(node.node_type, "matrix product")
    return {
        "Subgraph": "element by element (fused)",
        "Eltwise": "element by element",
        "Interpolate": "resize",
        "MVN": "layer normalisation",
        "Reduce": "mean over the map (squeeze)",
    }.get(node.node_type, node.node_type)


def profile(path: Path) -> dict[str, Any]:
    """Milliseconds a film by kind of kernel."""
    import_only = load_network(path, threads=1, streams=1)  # OpenVINO, imported without telemetry
    import openvino
    from openvino.passes import ConstantFolding, Manager

    core = openvino.Core()
    model = core.read_model(path)
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "PERF_COUNT": True,
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()
    size = import_only.size
    films = np.random.default_rng(3).normal(size=(FILMS, 1, size, size)).astype(np.float32)
    request.infer([films[:1]])
    spent: Counter[str] = Counter()
    for film in films:
        request.infer([film[None]])
        for node in request.profiling_info:
            spent[kind_of(node)] += node.real_time.total_seconds()
    kinds = {kind: 1000 * seconds / FILMS for kind, seconds in spent.most_common() if seconds}
    return {"size": size, "ms": sum(kinds.values()), "kinds": kinds}


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    lines = [
        f"Bundle {report['bundle']}, float32, one thread; {machine['processor']}; mean of {FILMS} "
        "films.",
        "",
        "| network | ms a film | of them |",
        "|---|---|---|",
    ]
    for name in ("classifier", "segmenter"):
        row = report[name]
        shown = list(row["kinds"].items())[:SHOWN]
        shares = "; ".join(f"{kind} {ms / row['ms']:.0%}" for kind, ms in shown)
        lines.append(f"| {name}, {row['size']}×{row['size']} | {row['ms']:.1f} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        bundle = load_bundle(arguments.bundle)
        report = {
            "bundle": f"{bundle.card.name} {bundle.card.version}",
            "classifier": profile(bundle.classifier_path),
            "segmenter": profile(bundle.segmenter_path),
            "machine": asdict(this_machine()),
        }
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        arguments.out.write_text(text, encoding="utf-8")
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
