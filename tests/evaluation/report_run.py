"""A made-up run of eight films with every kind of outcome, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from pneumoseg import rle

SIDE = 64


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


NOTHING = np.zeros((SIDE, SIDE), dtype=bool)
LEFT_BOX, RIGHT_BOX = box(8, 40, 20, 10), box(8, 6, 20, 4)
"""On the viewer's right is the patient's left."""
FILMS = (
    # image, patient, probability, outlines with scores, truth, seconds, view, age, sex
    ("f1", "p1", 0.9, [(LEFT_BOX, 0.8)], LEFT_BOX, 0.30, "PA", "38", "F"),
    ("f2", "p1", 0.7, [(box(8, 40, 10, 10), 0.6)], LEFT_BOX, 0.30, "PA", "38", "F"),
    ("f3", "p2", 0.4, [], RIGHT_BOX, 0.10, "AP", "070Y", "M"),
    ("f4", "p3", 0.6, [(RIGHT_BOX, 0.5)], LEFT_BOX | RIGHT_BOX, 0.30, "AP", "12", "M"),
    ("f5", "p4", 0.8, [(box(40, 40, 6, 6), 0.7)], NOTHING, 0.30, "PA", "", "F"),
    ("f6", "p5", 0.2, [], NOTHING, 0.10, "PA", "50", "M"),
    ("f7", "p6", 0.1, [], NOTHING, 0.10, "AP", "413", "M"),
    ("f8", "p6", 0.55, [], NOTHING, 0.30, "AP", "50", "M"),
)


def write_run(
    folder: Path, *, spacing_mm: list[float] | None = None, truth_grid: int = SIDE
) -> dict[str, Path]:
    """Write films, a run, masks and a table below ``folder``."""
    run, films = folder / "run", folder / "films"
    run.mkdir(parents=True)
    films.mkdir()
    records, rows, masks, table = [], [], [], []
    rng = np.random.default_rng(0)
    for image_id, patient, probability, outlines, truth, seconds, view, age, sex in FILMS:
        path = films / f"{image_id}.png"
        cv2.imwrite(str(path), rng.integers(20, 220, (SIDE, SIDE), dtype=np.uint8))
        united = np.any([mask for mask, _ in outlines], axis=0) if outlines else NOTHING
        records.append(
            {
                "image_id": image_id,
                "path": str(path),
                "shape": [SIDE, SIDE],
                "spacing_mm": spacing_mm,
                "patient_orientation": None,
                "probability": probability,
                "positive": probability >= 0.5,
                "classifier_threshold": 0.5,
                "segmented": probability >= 0.5,
                "lesions": [{"rle": rle.encode(mask), "score": score} for mask, score in outlines],
                "rle": rle.encode(united),
                "seconds": seconds,
                "bundle": "cxr",
                "bundle_version": "1",
            }
        )
        rows.append(f"{image_id},{rle.encode(united)}\n")
        drawn = np.repeat(np.repeat(truth, truth_grid // SIDE, 0), truth_grid // SIDE, 1)
        masks.append(f"{image_id},{rle.encode(drawn)}\n")
        table.append(f"{image_id},{patient},{view},{age},{sex}\n")
    (run / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (run / "predictions_aggregated.csv").write_text("ImageId,EncodedPixels\n" + "".join(rows))
    (folder / "masks.csv").write_text("ImageId,EncodedPixels\n" + "".join(masks))
    (folder / "table.csv").write_text("image_id,patient_id,view,age,sex\n" + "".join(table))
    return {
        "predictions": run,
        "films": films,
        "masks": folder / "masks.csv",
        "table": folder / "table.csv",
    }
