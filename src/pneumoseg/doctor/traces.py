"""Does the file show where a film comes from? What a chain of programs leaves in the pixels.

Films of two origins went through two chains of scanners, compressions and resamplings, and each
chain leaves marks that have nothing to do with the chest. JPEG rounds the coefficients of 8×8
blocks, and so leaves too many that are nearly 0, at some frequencies more than at others (Popescu
and Farid, Statistical tools for digital forensics, 2004); the noise is the finest diagonal
difference. No network looks at the chest here. :mod:`pneumoseg.doctor.origin` asks how
well these numbers separate groups of films.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = 512
"""Pixels; of larger films the middle is measured."""
BLOCK = 8
NEARLY_ZERO = (0.5, 1.5)
"""Levels of 255 below which a coefficient counts as rounded away."""
_STEEPEST = 0.1
"""Differences are cut here, so that edges of bones and bars do not rule the noise."""
_FLOOR = 1e-6

TRACE_NAMES = (
    *(f"share below {level} at {k // 8},{k % 8}" for level in NEARLY_ZERO for k in range(1, 64)),
    "fine noise",
    "fine over coarse noise",
    "mean brightness",
    "contrast",
    "darkest percentile",
    "brightest percentile",
    "rows",
    "cols",
    "bytes per pixel",
)
"""What :func:`measure_traces` measures, in this order."""


def measure_traces(pixels: NDArray[np.float32], file_bytes: int) -> NDArray[np.float64]:
    """Measure what a file's history leaves in it.

    Args:
        pixels: (rows, cols) in [0, 1], at least 8×8.
        file_bytes: size of the file.

    Returns:
        (135,) finite, in the order of ``TRACE_NAMES``; noise, sizes and bytes as logarithms.
    """
    rows, cols = pixels.shape
    # The middle begins at a multiple of 8, so that the blocks stay where they were.
    top, left = max(0, rows - WINDOW) // 16 * BLOCK, max(0, cols - WINDOW) // 16 * BLOCK
    part = np.ascontiguousarray(pixels[top : top + WINDOW, left : left + WINDOW])
    fine = _noise(part)
    half = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coarse = _noise(np.asarray(half, dtype=np.float32))
    noise = (np.log(fine + _FLOOR), np.log((fine + _FLOOR) / (coarse + _FLOOR)))
    small = cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_AREA)
    darkest, brightest = np.percentile(small, (1, 99))
    plain = (float(small.mean()), float(small.std()), float(darkest), float(brightest))
    sizes = np.log((rows, cols, max(1, file_bytes) / pixels.size))
    return np.concatenate((_rounded_away(part), noise, plain, sizes)).astype(np.float64)


def _rounded_away(part: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the blocks whose coefficient is nearly 0, for 63 frequencies and both levels."""
    rows, cols = (size // BLOCK for size in part.shape)
    tiled = part[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)
    blocks = tiled.transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK) * np.float32(255.0)
    structured = blocks.std(axis=(1, 2)) > 0.3  # black bars say nothing of the compression
    if structured.any():
        blocks = blocks[structured]
    cosines = _COSINES.astype(np.float32)
    strength = np.abs(cosines @ blocks @ cosines.T).reshape(len(blocks), -1)[:, 1:]
    return np.concatenate([(strength < level).mean(axis=0) for level in NEARLY_ZERO])


def _noise(part: NDArray[np.float32]) -> float:
    """Mean absolute diagonal difference of 2×2 pixels (the finest diagonal Haar coefficients)."""
    even = part[: part.shape[0] // 2 * 2, : part.shape[1] // 2 * 2]
    diagonal = even[::2, ::2] - even[::2, 1::2] - even[1::2, ::2] + even[1::2, 1::2]
    return float(np.minimum(np.abs(diagonal), _STEEPEST).mean())


def _cosine_matrix() -> NDArray[np.float64]:
    """Orthonormal DCT-II of 8 points, as in JPEG (ISO/IEC 10918-1 A.3.3)."""
    places, frequencies = np.arange(BLOCK), np.arange(BLOCK)[:, None]
    matrix = np.sqrt(2 / BLOCK) * np.cos(np.pi * (2 * places + 1) * frequencies / (2 * BLOCK))
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, dtype=np.float64)


_COSINES = _cosine_matrix()
