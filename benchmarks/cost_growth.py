"""How time and memory of ``pneumoseg predict`` grow with the number of films.

    python -P benchmarks/cost_growth.py [--counts 100 1000 10000] [--size 512] [--out FILE.json]
    python -P benchmarks/cost_growth.py --draw            the picture, from the JSON alone
    python -P benchmarks/cost_growth.py --copy FOLDER OUT COUNT    only make films, and stop

A few phantoms are made and written again and again under new names and new SOP Instance UIDs,
which make the image ids: to ``predict`` every file is another film. Each count is a process of its
own, timed from start to end; memory is its largest resident set (``ru_maxrss``). A count is stored
as soon as it is measured, and one that is stored is not measured again: a benchmark that was
stopped goes on where it was. 10,000 films of 512×512 take 5.3 GB of disk while they are measured,
of 1024×1024 21 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pneumoseg.bundle import load_bundle
from pneumoseg.installation.bench.machine import this_machine

HERE = Path(__file__).parent
RESULT = HERE / "results" / "cost_growth.json"
COUNTS = (100, 1000, 10_000)
SEED = 42_000
DISTINCT = 25
MEMORY_AIM = 0.10
"""By how much the peak may differ between the counts."""
SAME = ("bundle", "runtime", "precision", "threads", "batch_size", "size", "distinct")
"""What must be the same for stored counts to be kept."""


def copy_films(folder: Path, out: Path, count: int) -> None:
    """Write ``count`` films from those of a folder, each with a UID of its own (2.25.7.N).

    The pixels of film k are those of film k modulo the number there are; patient, study and series
    stay as they are.
    """
    import pydicom

    sources = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    if not sources:
        raise RuntimeError(f"no *.dcm in {folder}")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        dataset = sources[number % len(sources)]
        name = f"2.25.7.{number + 1}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = name
        dataset.save_as(out / f"{number + 1:06d}.dcm", enforce_file_format=True)


def timed(words: Sequence[object]) -> tuple[float, float]:
    """Run a process; its wall time in s and its largest resident set in MB.

    This process stays small, for a new one inherits the peak of the one that started it.
    """
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{words[0]} {words[1]} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def measure_count(
    phantoms: Path, count: int, scratch: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Make the films, predict them, and give one row."""
    program = Path(sys.executable).parent / "pneumoseg"
    with tempfile.TemporaryDirectory(dir=scratch) as work:
        films, out = Path(work) / "films", Path(work) / "out"
        timed([sys.executable, "-P", __file__, "--copy", phantoms, films, count])
        words: list[object] = [program, "predict", films, "--out", out]
        words += ["--bundle", arguments.bundle, "--runtime", arguments.runtime]
        words += ["--precision", arguments.precision]
        for flag, value in (("--threads", arguments.threads),
                            ("--batch-size", arguments.batch_size)):  # fmt: skip
            words += [] if value is None else [flag, value]
        load = os.getloadavg()[0]
        seconds, peak_mb = timed(words)
        suspected = lines = 0
        with (out / "predictions.jsonl").open(encoding="ascii") as file:
            for line in file:
                lines, suspected = lines + 1, suspected + json.loads(line)["positive"]
        written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if lines != count:
        raise RuntimeError(f"{lines} of {count} films have a result; the time would mean nothing")
    return {
        "images": count,
        "seconds": round(seconds, 2),
        "images_per_second": round(count / seconds, 3),
        "peak_mb": round(peak_mb, 1),
        "suspected": suspected,
        "results_mb": round(written / 2**20, 2),
        "load_average_before": round(load, 2),
    }


def conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the counts have in common."""
    card = load_bundle(arguments.bundle).card
    requested = {name: getattr(arguments, name) for name in SAME}
    return {**requested, "bundle": f"{card.name} {card.version}"}


def stored(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier call measured under the same conditions, or a report without counts."""
    if not path.is_file():
        return {**wanted, "results": []}
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    unlike = [name for name in SAME if report[name] != wanted[name]]
    if unlike:
        raise SystemExit(
            f"{path} was measured with another {' and '.join(unlike)}; give another --out, or "
            "remove it"
        )
    return report


def store(report: Mapping[str, Any], path: Path) -> None:
    """Write the report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the counts that are not stored yet."""
    report = stored(arguments.out, conditions(arguments))
    left = [n for n in arguments.counts if n not in {row["images"] for row in report["results"]}]
    if not left:
        return report
    report["machine"] = asdict(this_machine())
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch = Path(name)
        made = scratch / "phantoms"
        program = Path(sys.executable).parent / "pneumoseg"
        timed([program, "phantom", "--out", made, "--count", arguments.distinct,
               "--size", arguments.size, "--seed", SEED])  # fmt: skip
        for count in left:
            row = measure_count(made / "dicom", count, scratch, arguments)
            report["results"] = sorted([*report["results"], row], key=lambda r: r["images"])
            store(report, arguments.out)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return report


def memory_growth(report: Mapping[str, Any]) -> float:
    """Largest peak over smallest, less one: 0.05 is 5 % more."""
    peaks = [row["peak_mb"] for row in report["results"]]
    return max(peaks) / min(peaks) - 1.0


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    machine, grown = report["machine"], memory_growth(report)
    met = "met" if grown <= MEMORY_AIM else "missed"
    lines = [
        f"{report['distinct']} phantoms of {report['size']}×{report['size']}, repeated under other "
        f"UIDs; bundle {report['bundle']}, {report['runtime']} {report['precision']}; "
        f"{machine['processor']}, {machine['cores']} cores; whole processes.",
        "",
        "| films | seconds | films a second | peak memory | results |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['images']:,} | {row['seconds']:,.0f} | {row['images_per_second']:.1f} "
        f"| {row['peak_mb']:,.0f} MB | {row['results_mb']:,.1f} MB |"
        for row in report["results"]
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"Largest peak over smallest: {1 + grown:.3f} (aim ≤ {1 + MEMORY_AIM:g}: {met}).",
        ]
    )


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw time and memory over the number of films, from the report alone."""
    from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png

    rows = report["results"]
    counts = [row["images"] for row in rows]
    sheet = new_sheet(10.0, 4.2)
    machine = report["machine"]
    sheet.suptitle(
        f"pneumoseg predict, {report['bundle']} {report['precision']}, phantoms of "
        f"{report['size']}×{report['size']}; {machine['processor']}, {machine['cores']} cores",
        fontsize=10,
        color=INK,
    )
    axes = add_axes(sheet, (1, 2, 1), "wall time of the whole process")
    axes.plot(counts, [row["seconds"] for row in rows], "o-", color=ACCENT, linewidth=2)
    steady = rows[-1]["seconds"] / rows[-1]["images"]
    axes.plot(counts, [steady * n for n in counts], "--", color=FAINT, linewidth=1,
              label=f"{1000 * steady:.0f} ms a film")  # fmt: skip
    for row in rows:
        axes.annotate(
            f"{row['images_per_second']:.1f} films/s",
            (row["images"], row["seconds"]),
            textcoords="offset points",
            xytext=(-6, 6),
            ha="right",
            fontsize=8,
        )
    axes.margins(x=0.2, y=0.15)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("films")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False, fontsize=8)
    title = f"largest resident memory: peaks within {memory_growth(report):.1%}"
    axes = add_axes(sheet, (1, 2, 2), title)
    axes.plot(counts, [row["peak_mb"] for row in rows], "o-", color=SECOND, linewidth=2)
    axes.set_xscale("log")
    axes.set_ylim(0.0, 1.25 * max(row["peak_mb"] for row in rows))
    axes.set_xlabel("films")
    axes.set_ylabel("MB")
    save_png(sheet, path)


def main() -> None:
    """Measure, store, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--size", type=int, default=512, help="of the phantoms")
    parser.add_argument("--distinct", type=int, default=DISTINCT, help="phantoms that are made")
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--scratch", type=Path, help="folder to work in; a temporary one without")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--draw", action="store_true", help="only draw what is in --out")
    parser.add_argument("--copy", nargs=3, metavar=("FOLDER", "OUT", "COUNT"))
    arguments = parser.parse_args()
    if arguments.copy:
        folder, out, count = arguments.copy
        copy_films(Path(folder), Path(out), int(count))
        return
    if arguments.draw:
        report = json.loads(arguments.out.read_text(encoding="utf-8"))
    else:
        report = measure(arguments)
    draw(report, arguments.out.with_suffix(".png"))
    growth = memory_growth(report)
    met = "met" if growth <= MEMORY_AIM else "missed"
    print(f"peak memory within {growth:.1%}, aim {MEMORY_AIM:.0%} {met}; {arguments.out}")


if __name__ == "__main__":
    main()
