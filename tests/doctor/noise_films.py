"""Films that differ in nothing but their history."""

from __future__ import annotations

import cv2
import numpy as np


def noise_film(seed: int, *, compressed: bool) -> np.ndarray:
    """Smoothed noise, once through JPEG or not: nothing but the history differs."""
    rng = np.random.default_rng(seed)
    film = cv2.GaussianBlur(rng.random((96, 96)).astype(np.float32), (0, 0), 1.2)
    film = np.clip((film - film.mean()) * 1.5 + 0.5, 0, 1)
    grey = np.rint(film * 255).astype(np.uint8)
    if compressed:
        grey = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0)
    return grey.astype(np.float32) / 255
