"""A plain chest to simulate in: an ellipse of tissue with two elliptic lungs, slightly blurred."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 128
LUNG_HU, SOFT_HU, AIR_HU = -850.0, 40.0, -1000.0


def chest_ct(
    slices: int = 1, noise_hu: float = 0.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """HU (slices, 128, 128) and labels 1 right, 2 left; the lungs narrow towards both ends."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    hu = np.full((slices, SIZE, SIZE), AIR_HU, dtype=np.float32)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    for index in range(slices):
        away = (index - (slices - 1) / 2) / max(slices, 2) * 2
        size = np.sqrt(1 - away**2) if slices > 1 else 1.0
        body = ((rows - 64) / 50) ** 2 + ((columns - 64) / 60) ** 2 < 1
        hu[index][body] = SOFT_HU
        for label, middle in ((1, 38), (2, 90)):
            lung = ((rows - 62) / (34 * size)) ** 2 + ((columns - middle) / (19 * size)) ** 2 < 1
            labels[index][lung] = label
            hu[index][lung] = LUNG_HU
    hu = np.stack([cv2.GaussianBlur(part, (0, 0), 0.6) for part in hu])
    rng = np.random.default_rng(seed)
    return hu + rng.normal(0, noise_hu, hu.shape).astype(np.float32), labels
