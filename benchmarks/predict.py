"""DICOM files in, CSVs out: ``pneumoseg predict`` beside what people run, side by side in one run.

    python -P benchmarks/predict.py [--images FOLDER] [--count 300] [--repeats 3] [--out FILE.json]
    python -P benchmarks/predict.py --table          the Markdown table, from the JSON alone

Every contestant is a process of its own, from its start to its last file, and they take turns, the
first place going round; a ratio is taken within a repeat, and the median over the repeats is given
with its range. Without ``--images`` phantoms are made and repeated under other UIDs.

- ``pneumoseg predict``: as a user runs it.
- ``eager cascade``: the same two networks in eager PyTorch, one film after another.
- ``eager always-segment``: a U-Net of segmentation_models.pytorch on the same encoder, likewise
  (pip install segmentation-models-pytorch).
- ``networks alone``: pneumoseg's networks on arrays in memory, same films and batch size; of this
  one only the seconds of the networks count, not those of its start.

The peers are in ``peers.py``, with what they are spared. Also measured: the wall time of
``pneumoseg --help``, and of ``pneumoseg predict`` on one film from a cold start (caches of the file
system are warm). Memory is the largest resident set of the process (``ru_maxrss``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pneumoseg.bundle import load_bundle
from pneumoseg.installation.bench.machine import this_machine

HERE = Path(__file__).parent
RESULT = HERE / "results" / "predict.json"
PREDICT, EAGER, ALWAYS, NETWORKS = (
    "pneumoseg predict",
    "eager cascade",
    "eager always-segment",
    "networks alone",
)
PEERS = {EAGER: "cascade", ALWAYS: "always", NETWORKS: "networks"}
CONTESTANTS = (PREDICT, EAGER, ALWAYS, NETWORKS)
AIMS = {EAGER: 10.0, ALWAYS: 8.0, NETWORKS: 0.9}
"""How many times the images a second of each predict is to have."""
HELP_AIM_S, COLD_AIM_S, MEMORY_AIM_MB = 0.2, 4.0, 2000.0
STARTS = 5
SEED = 41_000


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Run a process; its wall time in s and its largest resident set in MB.

    This process stays small, for a new one inherits the peak of the one that started it.
    """
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:6])} … ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def pneumoseg(*words: object) -> list[str]:
    """The command line of a user."""
    return [str(Path(sys.executable).parent / "pneumoseg"), *map(str, words)]


def gather(arguments: argparse.Namespace, scratch: Path) -> Path:
    """The folder of films: phantoms made, or links to the first of a folder."""
    folder = scratch / "films"
    if arguments.images is None:
        made, size = scratch / "phantoms", arguments.size
        distinct = min(arguments.distinct, arguments.count)
        timed(pneumoseg("phantom", "--out", made, "--count", distinct, "--size", size,
                        "--seed", SEED))  # fmt: skip
        copy = [sys.executable, "-P", HERE / "cost_growth.py", "--copy"]
        timed([str(word) for word in (*copy, made / "dicom", folder, arguments.count)])
        return folder
    folder.mkdir()
    found = sorted(path for path in arguments.images.rglob("*") if path.is_file())
    for number, path in enumerate(found[: arguments.count]):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                raise SystemExit(f"{path} is not DICOM; the peers read nothing else")
        (folder / f"{number:06d}{path.suffix}").symlink_to(path.resolve())
    return folder


def contest(name: str, films: Path, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one contestant once: seconds, memory, how many images passed, decisions by image id."""
    common = ["--bundle", arguments.bundle]
    if arguments.threads is not None:
        common += ["--threads", str(arguments.threads)]
    ours = ["--runtime", arguments.runtime, "--precision", arguments.precision]
    if arguments.batch_size is not None:
        ours += ["--batch-size", str(arguments.batch_size)]
    if name == PREDICT:
        seconds, peak_mb = timed(pneumoseg("predict", films, "--out", out, *common, *ours))
        records = (out / "predictions.jsonl").read_text("ascii").splitlines()
        suspected = {r["image_id"]: r["positive"] for r in map(json.loads, records)}
    else:
        words = [sys.executable, "-P", str(HERE / "peers.py"), PEERS[name], str(films), str(out)]
        words += common + (ours if name == NETWORKS else ["--run-lengths", arguments.run_lengths])
        seconds, peak_mb = timed(words)
        peer = json.loads((out / "peer.json").read_text("utf-8"))
        suspected = peer["suspected"]
        if name == NETWORKS:
            seconds = peer["seconds"]
    return {
        "seconds": seconds,
        "loop_seconds": None if name == PREDICT else peer["seconds"],
        "peak_mb": peak_mb,
        "images": len(suspected),
        "suspected": suspected,
    }


def in_turn(
    films: Path, scratch: Path, arguments: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """Every contestant once a repeat; who is first goes round."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for repeat in range(arguments.repeats):
        first = repeat % len(CONTESTANTS)
        for name in (*CONTESTANTS[first:], *CONTESTANTS[:first]):
            out = scratch / f"{PEERS.get(name, 'predict')}_{repeat}"
            run = contest(name, films, out, arguments)
            runs[name].append(run)
            rate = run["images"] / run["seconds"]
            print(f"{repeat + 1}/{arguments.repeats}  {name:22} {rate:8.2f} images/s", flush=True)
    return runs


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median and range."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def sum_up(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Images a second, memory, and predict's ratio to each other contestant."""
    ours = runs[PREDICT][0]["suspected"]
    for name in (PREDICT, EAGER, ALWAYS, NETWORKS):
        if set(runs[name][0]["suspected"]) != set(ours):
            raise RuntimeError(f"{name} did not see the same images; rates would mean nothing")
    rates = {n: [run["images"] / run["seconds"] for run in rows] for n, rows in runs.items()}
    loops = {n: [len(ours) / run["loop_seconds"] for run in runs[n]] for n in AIMS}
    return {
        "images": len(ours),
        "pass_rate": round(sum(ours.values()) / len(ours), 4),
        "contestants": {
            name: {
                "images_per_second": spread(rates[name]),
                "seconds": spread([run["seconds"] for run in rows]),
                "peak_mb": round(max(run["peak_mb"] for run in rows)),
                "decisions_unlike_predict": sum(rows[0]["suspected"][k] != ours[k] for k in ours)
                if name != ALWAYS
                else None,
            }
            for name, rows in runs.items()
        },
        "ratios": {
            name: {
                **spread([a / b for a, b in zip(rates[PREDICT], rates[name], strict=True)]),
                "without_its_start": statistics.median(
                    a / b for a, b in zip(rates[PREDICT], loops[name], strict=True)
                ),
                "aim": aim,
            }
            for name, aim in AIMS.items()
        },
    }


def starts(films: Path, scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall times of ``--help``, and of one film from a cold start."""
    one = next(path for path in sorted(films.iterdir()) if path.is_file())
    shown = [timed(pneumoseg("--help"))[0] for _ in range(STARTS)]
    words = ["--bundle", arguments.bundle, "--runtime", arguments.runtime]
    words += ["--precision", arguments.precision]
    cold = [
        timed(pneumoseg("predict", one, "--out", scratch / f"cold_{k}", *words))[0]
        for k in range(STARTS)
    ]
    return {
        "help_seconds": {**spread(shown), "aim": HELP_AIM_S},
        "first_finding_seconds": {**spread(cold), "aim": COLD_AIM_S},
    }


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The whole report."""
    machine = this_machine("timm", "segmentation-models-pytorch", "pydicom")
    card = load_bundle(arguments.bundle).card
    films = gather(arguments, scratch)
    found = {**starts(films, scratch, arguments), **sum_up(in_turn(films, scratch, arguments))}
    run = json.loads((scratch / "predict_0" / "run.json").read_text("utf-8"))
    return {
        "films": (
            f"phantoms of {arguments.size}×{arguments.size}, seeds {SEED} to "
            f"{SEED + min(arguments.distinct, arguments.count) - 1}, repeated under other UIDs"
            if arguments.images is None
            else arguments.called or "films given"
        ),
        "bundle": f"{card.name} {card.version}",
        "runtime": arguments.runtime,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "batch_size": arguments.batch_size or run.get("batch_size"),
        "run_lengths_of_peers": arguments.run_lengths,
        "repeats": arguments.repeats,
        **found,
        "memory_aim_mb": MEMORY_AIM_MB,
        "machine": asdict(machine),
    }


def beyond_the_first(report: Mapping[str, Any]) -> str:
    """Films a second of predict once a cold start with one film is taken off; "" for too few."""
    seconds = report["contestants"][PREDICT]["seconds"]["median"]
    left = seconds - report["first_finding_seconds"]["median"]
    if left <= 0:
        return ""
    steady = (report["images"] - 1) / left
    share = steady / report["contestants"][NETWORKS]["images_per_second"]["median"]
    return (
        f"Beyond its first film predict does {steady:.2f} films a second, {share:.2f} of the "
        "networks alone (medians)."
    )


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    lines = [
        f"{report['images']} {report['films']}; bundle {report['bundle']}, {report['runtime']} "
        f"{report['precision']}; {report['pass_rate']:.0%} suspected; {machine['processor']}, "
        f"{machine['cores']} cores; median of {report['repeats']} repeats (range).",
        "",
        "| whole process | images a second | peak memory | predict is … times as fast | aim |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["contestants"].items():
        rate, ratio = row["images_per_second"], report["ratios"].get(name)
        times, aim = (
            ("", "")
            if ratio is None
            else (
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                f"≥ {ratio['aim']:g}: {'met' if ratio['median'] >= ratio['aim'] else 'missed'}",
            )
        )
        shown = f"{rate['median']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})"
        memory = "" if name == NETWORKS else f"{row['peak_mb']:,} MB"
        label = "networks alone, arrays in memory" if name == NETWORKS else name
        lines.append(f"| {label} | {shown} | {memory} | {times} | {aim} |")
    without = [
        f"{report['ratios'][name]['without_its_start']:.1f} times the {name}"
        for name in (EAGER, ALWAYS)
    ]
    lines += ["", f"With predict's start counted and the peers' not: {' and '.join(without)}."]
    lines += filter(None, [beyond_the_first(report)])
    for what, key in (
        ("`pneumoseg --help`", "help_seconds"),
        ("First finding from a cold start", "first_finding_seconds"),
    ):
        row = report[key]
        met = "met" if row["median"] <= row["aim"] else "missed"
        lines.append(
            f"{what}: {row['median']:.2f} s ({row['low']:.2f} to {row['high']:.2f}), "
            f"aim {row['aim']:g} s {met}."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of DICOM files; phantoms without")
    parser.add_argument("--called", help="what to call those films in the report")
    parser.add_argument("--count", type=int, default=300, help="films; of a folder the first")
    parser.add_argument("--distinct", type=int, default=100, help="phantoms that are made")
    parser.add_argument("--size", type=int, default=1024, help="of the phantoms")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--run-lengths", choices=("runs", "pixels"), default="runs")
    parser.add_argument("--scratch", type=Path, help="folder to work in; a temporary one without")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(dir=arguments.scratch)
            report = measure(arguments, Path(stack.enter_context(temporary)))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(
            json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
