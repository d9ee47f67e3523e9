"""Films for the hand-made bundle of tests/tiny_bundle.py, whose answers can be worked out.

A film is black but for a square: a bright one is marked by stage two, a dim one is not, and stage
one's logit is 200 * share of the film * brightness - 2.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pneumoseg import rle

SIZE = 512


def square(side: int, top: int = 100, left: int = 60) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def write_films(folder: Path, films: dict[str, tuple[np.ndarray, np.ndarray, str]]) -> None:
    """Write films, masks.csv and table.csv.

    Args:
        folder: where to.
        films: name -> (pixels uint8, true mask, patient).
    """
    (folder / "images").mkdir(parents=True)
    masks, table = ["ImageId,EncodedPixels"], ["image_id,patient_id,part"]
    for number, (name, (pixels, truth, patient)) in enumerate(films.items()):
        cv2.imwrite(str(folder / "images" / f"{name}.png"), pixels)
        masks.append(f"{name},{rle.encode(truth)}")
        table.append(f"{name},{patient},{'test' if number % 2 else 'train'}")
    (folder / "masks.csv").write_text("\n".join(masks) + "\n")
    (folder / "table.csv").write_text("\n".join(table) + "\n")


def many_films(count: int, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Every third film positive, two films a patient; some healthy films have a small bright spot.

    Squares of positive films grow with their number; the spots of healthy ones stay small.
    """
    rng = np.random.default_rng(seed)
    films = {}
    for k in range(count):
        truth = square(20 + k) if k % 3 == 0 else np.zeros((SIZE, SIZE), dtype=np.bool_)
        bright = truth if k % 3 == 0 else square(12, top=300, left=300 + k)
        pixels = rng.integers(0, 2, (SIZE, SIZE)).astype(np.uint8)
        pixels[bright] = 255 if k % 3 == 0 or k % 2 else 90
        films[f"f{k:03d}"] = (pixels, truth, f"p{k // 6}-{k % 3 == 0}")
    return films
