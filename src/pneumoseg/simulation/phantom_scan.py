"""A phantom body as a scanner would show it: on a table, blurred, noisy, in a square field.

The phantom's own CT (:mod:`pneumoseg.phantom.volume`) is sharp; next to real scans that would tell
at a glance.
"""

from __future__ import annotations

import cv2
import numpy as np

from pneumoseg.phantom import Posture, make_body, make_ct
from pneumoseg.simulation.anatomies import Anatomy
from pneumoseg.simulation.lung_sides import SIDE_LABELS
from pneumoseg.simulation.scan_noise import AIR_HU, FLOOR_HU, Array, gaussian_noise
from pneumoseg.study import Side

_TABLE_HU, _TABLE_MM, _TABLE_GAP_MM = -250.0, 3.0, 4.0
_BODY_HU = -500.0
_NOISE_HU, _GRAIN_PX, _BLUR_PX = (6.0, 60.0), (0.4, 1.0), (0.6, 1.0)


def scan_phantom(seed: int, spacing_mm: tuple[float, float, float]) -> Anatomy:
    """Scan a healthy phantom lying on its back.

    Args:
        seed: of the body and of the scanner.
        spacing_mm: between slices, rows, columns.
    """
    body = make_body(seed, posture=Posture.SUPINE)
    ct = make_ct(body, spacing_mm=spacing_mm, noise_hu=0)
    rng = np.random.default_rng([seed, 21])
    size = max(ct.hu.shape[1:])
    above = (size - ct.hu.shape[1]) // 2
    beside = (size - ct.hu.shape[2]) // 2
    box = (
        slice(None),
        slice(above, above + ct.hu.shape[1]),
        slice(beside, beside + ct.hu.shape[2]),
    )
    hu = np.full((ct.hu.shape[0], size, size), AIR_HU, dtype=np.float32)
    hu[box] = ct.hu
    lungs = np.zeros(hu.shape, dtype=np.uint8)
    lungs[box][ct.right_lung] = SIDE_LABELS[Side.RIGHT]
    lungs[box][ct.left_lung] = SIDE_LABELS[Side.LEFT]
    _add_table(hu, spacing_mm, rng)
    noise = gaussian_noise(
        float(np.exp(rng.uniform(*np.log(_NOISE_HU)))),
        float(rng.uniform(*_GRAIN_PX)),
        float(rng.uniform(*_BLUR_PX)),
    )
    blurred = np.stack([cv2.GaussianBlur(part, (0, 0), noise.psf_px) for part in hu])
    scan = np.maximum(blurred + noise.draw(hu.shape, rng), FLOOR_HU)
    between, down, across = spacing_mm
    z, y, x = ct.origin_mm
    affine = np.array(
        [
            [0, 0, across, x - beside * across],
            [0, down, 0, y - above * down],
            [-between, 0, 0, -z],
            [0, 0, 0, 1],
        ]
    )
    return Anatomy(
        f"phantom-{seed:06d}",
        "phantom",
        scan.astype(np.float32),
        lungs,
        noise,
        spacing_mm,
        affine,
    )


def _add_table(hu: Array, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Draw the scanner's table under the back, two thin curved sheets."""
    rows = np.flatnonzero((hu > _BODY_HU).any(axis=(0, 2)))
    lowest = float(rows[-1]) + _TABLE_GAP_MM / spacing_mm[1] if rows.size else hu.shape[1] * 0.9
    across = np.linspace(-1, 1, hu.shape[2], dtype=np.float32)
    sag = rng.uniform(5, 40) / spacing_mm[1]
    grid = np.arange(hu.shape[1], dtype=np.float32)[:, None]
    width = _TABLE_MM / spacing_mm[1]
    for below in (0.0, rng.uniform(15, 60) / spacing_mm[1]):
        sheet = np.abs(grid - (lowest + below - sag * across[None, :] ** 2)) < width / 2
        sheet &= np.abs(across)[None, :] < 0.9
        for part in hu:
            part[sheet & (part < _BODY_HU)] = _TABLE_HU
