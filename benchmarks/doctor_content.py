"""How well `pneumoseg doctor` tells by content: inverted and turned films, copies of one picture.

    python -P benchmarks/doctor_content.py [--siim FOLDER] [--out FILE.json]

FOLDER holds `images/`, `manifest.csv` with image_id and patient_id, and `unlabelled/images/` with
films whose patients are not known, which are judged as they are. Every film is judged as it
is (what is found then is a false alarm, but for the films that really are turned), and again after
each turn and inversion. Every fourth film is compared with copies of itself that were compressed,
scaled or changed in brightness; all films are compared with those of other patients.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.doctor.duplicates import NEAR, signature
from pneumoseg.doctor.images import COARSE
from pneumoseg.doctor.upright import (
    INVERTED,
    POSITIONS,
    field_of,
    position,
    position_scores,
)
from pneumoseg.reading import read, walk

HERE = Path(__file__).parent
EVERY = 4
BLOCK = 512
Picture = NDArray[np.float32]


def compressed(quality: int) -> Callable[[Picture], Picture]:
    """Through 8-bit JPEG once."""

    def change(film: Picture) -> Picture:
        grey = np.rint(film * 255).astype(np.uint8)
        _, stored = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)

    return change


def equalised(film: Picture) -> Picture:
    """Contrast-limited adaptive histogram equalisation."""
    grey = np.rint(film * 255).astype(np.uint8)
    return cv2.createCLAHE(2.0, (8, 8)).apply(grey).astype(np.float32) / np.float32(255)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG quality 30": compressed(30),
    "scaled to 0.4": lambda f: cv2.resize(f, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_LINEAR),
    "gamma 0.6": lambda f: f ** np.float32(0.6),
    "gamma 1.6": lambda f: f ** np.float32(1.6),
    "brighter, clipped (1.2 x + 0.1)": lambda f: np.clip(1.2 * f + 0.1, 0, 1).astype(np.float32),
    "adaptive equalisation": equalised,
    "cropped by 2 % on each side": lambda f: np.ascontiguousarray(f[10:-10, 10:-10]),
}


def reduced(film: Picture) -> Picture:
    """The film as small as it is judged."""
    return cv2.resize(film, (COARSE, COARSE), interpolation=cv2.INTER_AREA)


def coarse(path: Path) -> Picture:
    """A file as small as it is judged."""
    return reduced(read(path).pixels)


def placed(small: Picture, number: int) -> Picture:
    """The film in one of the positions of ``POSITIONS``."""
    return np.ascontiguousarray(1 - small if number == INVERTED else np.rot90(small, number))


def found_position(small: Picture) -> int:
    """What the rule says of a film."""
    top, bottom, left, right = field_of(small)
    return position(position_scores(small[top:bottom, left:right]))


def measure(folder: Path) -> dict[str, object]:
    """All figures on the films of a folder."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        patient_of = {row["image_id"]: row["patient_id"] for row in csv.DictReader(file)}
    patients: list[str] = []
    signatures: list[Picture] = []
    likeness: dict[str, list[float]] = {name: [] for name in COPIES}
    answers = np.zeros((len(POSITIONS), len(POSITIONS)), dtype=np.int64)  # (true, found)
    flagged = []
    for number, path in enumerate(walk([folder / "images"])):
        film = read(path)
        patients.append(patient_of[film.source.image_id])
        signatures.append(signature(film.pixels))
        small = reduced(film.pixels)
        for true in range(len(POSITIONS)):
            answer = found_position(placed(small, true))
            answers[true, answer] += 1
            if true == 0 and answer:
                flagged.append(f"{film.source.image_id}: {POSITIONS[answer]}")
        if number % EVERY == 0:
            for name, change in COPIES.items():
                likeness[name].append(float(signature(change(film.pixels)) @ signatures[-1]))
    others = list(walk([folder / "unlabelled" / "images"]))
    also = [
        f"{path.stem}: {POSITIONS[k]}" for path in others if (k := found_position(coarse(path)))
    ]
    return {
        "films": len(patients),
        "patients": len(set(patients)),
        "flagged as they are": flagged,
        "further films": len(others),
        "flagged among them": also,
        "reported as not upright after": {
            name: f"{answers[k, 1:].sum()} of {len(patients)}"
            for k, name in enumerate(POSITIONS)
            if k
        },
        "called by the right name after": {
            name: f"{answers[k, k]} of {len(patients)}" for k, name in enumerate(POSITIONS) if k
        },
        "threshold of copies": NEAR,
        "copies found": {
            name: {
                "found": sum(value >= NEAR for value in values),
                "of": len(values),
                "lowest": round(min(values), 3),
            }
            for name, values in likeness.items()
        },
        "most alike films of two patients": most_alike(np.stack(signatures), np.array(patients)),
        "pairs of two patients": int(
            (len(patients) ** 2 - (np.unique(patients, return_counts=True)[1] ** 2).sum()) // 2
        ),
    }


def most_alike(signatures: Picture, patients: NDArray[np.str_]) -> float:
    """Largest correlation between films of different patients."""
    highest = 0.0
    for start in range(0, len(signatures), BLOCK):
        alike = signatures[start : start + BLOCK] @ signatures.T
        alike[patients[start : start + BLOCK, None] == patients[None]] = 0
        highest = max(highest, float(alike.max()))
    return round(highest, 3)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--siim", type=Path, default=HERE.parents[1] / "shared" / "data" / "siim")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "doctor_content.json")
    arguments = parser.parse_args()
    figures = measure(arguments.siim)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
