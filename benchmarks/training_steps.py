"""What a training step takes with PyTorch's gradients of depthwise convolutions and with our own.

    python -P benchmarks/training_steps.py [--seconds 120] [--threads 2]
    python -P benchmarks/training_steps.py --table          the Markdown table, from the JSON alone

Both networks in bf16, forward and backward on random arrays, without films to read and without an
optimiser; PyTorch's and ours take turns, step by step. With one thread, the default, it is the
processor's clock that is read, which what else runs here hardly touches; with more, the wall's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from pneumoseg.bench.machine import this_machine
from pneumoseg.bench.timing import Timing, time_in_turn
from torch import nn

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.segmenter_convnext_tiny import ConvNeXtTinyUNet
from pneumoseg.training.depthwise import use_fast_depthwise

RESULT = Path(__file__).parent / "results" / "training_steps.json"
SIZE, FILMS = 256, 8
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "EfficientNet-B3": EfficientNetB3Classifier,
    "U-Net on ConvNeXt-Tiny": ConvNeXtTinyUNet,
}


def step_of(network: nn.Module, films: torch.Tensor) -> Callable[[int], object]:
    """One step's forward and backward pass."""

    def step(number: int) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = network(films).float().square().mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    return step


def measure_one(name: str, threads: int, seconds: float) -> dict[str, Any]:
    """Time one network's step both ways, in turn."""
    torch.set_num_threads(threads)
    plain = NETWORKS[name]().to(memory_format=torch.channels_last).train()
    fast = deepcopy(plain)
    replaced = use_fast_depthwise(fast, "bf16")
    films = torch.randn(FILMS, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    steps = {"PyTorch": step_of(plain, films), "fast_depthwise": step_of(fast, films)}
    for step in steps.values():
        step(0)
    clock = perf_counter if threads > 1 else process_time
    taken = time_in_turn(steps, seconds=seconds, clock=clock)
    timings = [asdict(Timing.of(way, each, FILMS)) for way, each in taken.items()]
    ratios = [a / b for a, b in zip(*taken.values(), strict=True)]
    return {
        "network": name,
        "threads": threads,
        "clock": "wall" if threads > 1 else "processor",
        "convolutions_replaced": replaced,
        "timings": timings,
        "median_ratio": timings[0]["median_ms"] / timings[1]["median_ms"],
        "ratios_of_rounds": [round(ratio, 3) for ratio in ratios],
    }


def measure(seconds: float, threads: int) -> dict[str, Any]:
    """Time both networks."""
    machine = this_machine("timm")
    rows = [measure_one(name, threads, seconds / len(NETWORKS)) for name in NETWORKS]
    return {
        "precision": "bf16",
        "size": SIZE,
        "films": FILMS,
        "rows": rows,
        "machine": asdict(machine),
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: ms a film, median (quartiles), and how many times faster."""
    machine = report["machine"]
    lines = [
        f"{report['precision']}, {report['films']} films of {report['size']}×{report['size']} a "
        f"step; {machine['processor']}, {machine['cores']} cores, load average before it "
        f"{machine['load_average']}; ms a film, median (quartiles).",
        "",
        "| network | threads, clock | PyTorch | fast_depthwise | times faster | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [
            f"{one['median_ms']:.1f} ({one['lower_quartile_ms']:.1f} to "
            f"{one['upper_quartile_ms']:.1f})"
            for one in row["timings"]
        ]
        lines.append(
            f"| {row['network']} | {row['threads']}, {row['clock']} | {' | '.join(cells)} | "
            f"{row['median_ratio']:.2f} | {row['timings'][0]['repeats']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        text = (
            json.dumps(measure(arguments.seconds, arguments.threads), indent=1, ensure_ascii=False)
            + "\n"
        )
        arguments.out.write_text(text, encoding="utf-8")
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
