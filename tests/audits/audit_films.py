"""Films whose answer can be worked out by hand: the tiny bundle's logit is 200 · brightness - 2."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 128


def write_films(folder: Path, films: dict[str, tuple[NDArray[np.uint8], bool]]) -> Path:
    """Films as PNG with masks.csv (a positive's mask is one pixel) and table.csv, two a patient."""
    (folder / "images").mkdir(parents=True)
    masks, table = ["ImageId, EncodedPixels"], ["image_id,patient_id"]
    for number, (name, (pixels, label)) in enumerate(films.items()):
        cv2.imwrite(str(folder / "images" / f"{name}.png"), pixels)
        masks.append(f"{name},{f'{SIDE * 64 + 64} 1' if label else '-1'}")
        table.append(f"{name},p{number // 2}")
    (folder / "masks.csv").write_text("\n".join(masks) + "\n")
    (folder / "table.csv").write_text("\n".join(table) + "\n")
    return folder


def dim_film(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise about as dark as makes the tiny bundle undecided."""
    return rng.integers(0, 6, (SIDE, SIDE), dtype=np.uint8)


def film_arguments(folder: Path) -> dict[str, Path]:
    return {
        "images": folder / "images",
        "masks": folder / "masks.csv",
        "table": folder / "table.csv",
    }
