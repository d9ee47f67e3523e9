"""Does the fast road say what the reference says? Every film through OpenVINO and through PyTorch.

    python -P benchmarks/parity.py FOLDER [FOLDER ...] --called "SIIM-ACR films"
    python -P benchmarks/parity.py --table           the Markdown table, from the JSON alone

Both sides are the shipped bundle: OpenVINO as ``pneumoseg predict`` runs it (float32, or what
``--precision`` says), and eager PyTorch in float32, the network classes that were trained with the
weights of the bundle. Compared for each
film: the decision, the calibrated probability, and, where either side suspects the film, the masks
on its own pixels. Two empty masks are alike; they are counted, and left out of the mean Dice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg.errors import InputError
from pneumoseg.installation.bench.machine import this_machine
from pneumoseg.metrics import dice
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.reading import read, walk
from pneumoseg.study import Finding, Image

RESULT = Path(__file__).parent / "results" / "parity.json"
BATCH = 8
AIMS = {"decisions": 1.0, "mask_dice": 0.99, "probability": 0.02}
"""Share of decisions alike, mean Dice, and the largest difference of a probability."""


def images_of(folders: Sequence[Path]) -> Iterator[Image]:
    """Every film below the folders; what is none is passed over."""
    for path in walk(folders):
        try:
            yield read(path)
        except InputError as error:
            print(f"passed over {path.name}: {error}")


def compared(fast: Finding, reference: Finding) -> dict[str, Any]:
    """How one film's two findings differ."""
    one, two = fast.detection, reference.detection
    masks = [f.mask.pixels for f in (fast, reference) if f.mask is not None]
    drawn = [mask for mask in masks if mask.any()]
    overlap = dice(*masks) if len(masks) == 2 and drawn else (0.0 if drawn else None)
    return {
        "image_id": fast.source.image_id,
        "alike": one.positive == two.positive,
        "suspected": two.positive,
        "probability": abs(one.probability - two.probability),
        "logit": abs(one.logit - two.logit),
        "dice": overlap,
    }


def compare(
    folders: Sequence[Path], bundle: str, precision: str, limit: int | None
) -> list[dict[str, Any]]:
    """All films, batch by batch."""
    fast = Cascade.load(bundle, runtime="openvino", precision=precision)
    reference = Cascade.load(bundle, runtime="torch")
    rows: list[dict[str, Any]] = []
    images = islice(images_of(folders), limit)
    while batch := list(islice(images, BATCH)):
        pairs = zip(fast.predict_batch(batch), reference.predict_batch(batch), strict=True)
        rows += [compared(*pair) for pair in pairs]
        if len(rows) % 200 < BATCH:
            unlike = sum(not row["alike"] for row in rows)
            print(f"{len(rows)} films, {unlike} decisions differ", flush=True)
    if not rows:
        raise SystemExit("no film was found; give folders that hold some")
    return rows


def sum_up(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the report."""
    overlaps = [row["dice"] for row in rows if row["dice"] is not None]
    return {
        "films": len(rows),
        "suspected": sum(row["suspected"] for row in rows),
        "decisions_unlike": sum(not row["alike"] for row in rows),
        "largest_difference_of_probability": max(row["probability"] for row in rows),
        "largest_difference_of_logit": max(row["logit"] for row in rows),
        "masks": len(overlaps),
        "mean_dice": float(np.mean(overlaps)) if overlaps else None,
        "lowest_dice": min(overlaps, default=None),
    }


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    alike = 1 - report["decisions_unlike"] / report["films"]

    def row(what: str, found: str, aim: str, met: bool) -> str:
        return f"| {what} | {found} | {aim}: {'met' if met else 'missed'} |"

    largest, mean = report["largest_difference_of_probability"], report["mean_dice"]
    return "\n".join(
        [
            f"{report['films']:,} {report['called']}; bundle {report['bundle']}; OpenVINO in "
            f"{report['precision']}, eager PyTorch in f32.",
            "",
            "| | found | aim |",
            "|---|---|---|",
            row(
                "decisions that differ",
                f"{report['decisions_unlike']} of {report['films']:,}",
                "none",
                alike >= AIMS["decisions"],
            ),
            row(
                "largest difference of a probability",
                f"{largest:.1e}",
                f"≤ {AIMS['probability']:g}",
                largest <= AIMS["probability"],
            ),
            row(
                "mean Dice of the masks (lowest)",
                "no mask"
                if mean is None
                else f"{mean:.5f} ({report['lowest_dice']:.4f}, n = {report['masks']:,})",
                f"≥ {AIMS['mask_dice']:g}",
                mean is not None and mean >= AIMS["mask_dice"],
            ),
        ]
    )


def main() -> None:
    """Compare, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--called", default="films given", help="what the report calls them")
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--precision", default="f32", help="of OpenVINO")
    parser.add_argument("--limit", type=int, help="the first so many films alone")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        card = Cascade.load(arguments.bundle).bundle.card
        machine = this_machine("timm")
        report = {
            "called": arguments.called,
            "bundle": f"{card.name} {card.version}",
            "precision": arguments.precision,
            **sum_up(
                compare(arguments.folders, arguments.bundle, arguments.precision, arguments.limit)
            ),
            "machine": asdict(machine),
        }
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        arguments.out.write_text(text, encoding="utf-8")
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
