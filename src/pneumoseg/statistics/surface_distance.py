"""How far apart the borders of two masks are, in millimetres.

Definitions are those of MONAI: the border of a mask is what erosion by the four neighbours takes
away, distances run between pixel centres, and the film's edge counts as outside. Where the spacing
is unknown there is no distance: it is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

PERCENTILE = 95.0
"""Of the Hausdorff distance: the largest distance itself hangs on one stray pixel."""


@dataclass(frozen=True)
class SurfaceDistance:
    """Distances between two borders, in mm."""

    hd95_mm: float
    """The larger of the two directed 95th percentiles (Hausdorff distance, HD95)."""
    average_mm: float
    """Mean over both borders' pixels of the distance to the other: average symmetric distance."""


def surface_distance(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> SurfaceDistance | None:
    """Measure how far apart two borders are.

    Args:
        mask: bool (rows, cols).
        truth: bool, the same shape.
        spacing_mm: between rows, between columns.

    Returns:
        The distances; None where one of the masks is empty: nothing is then to be compared.
    """
    if not mask.any() or not truth.any():
        return None
    scale = np.asarray(spacing_mm, dtype=np.float64)
    predicted, true = _border(mask) * scale, _border(truth) * scale  # (pixels, 2) in mm
    from_mask, _ = KDTree(true).query(predicted)
    from_truth, _ = KDTree(predicted).query(true)
    return SurfaceDistance(
        hd95_mm=max(float(np.percentile(side, PERCENTILE)) for side in (from_mask, from_truth)),
        average_mm=float(np.concatenate([from_mask, from_truth]).mean()),
    )


def _border(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(pixels, 2) rows and columns of the border; only the box around the mask is looked at."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(cols[0])
    box = mask[top : int(rows[-1]) + 1, left : int(cols[-1]) + 1]
    edge = box & ~ndimage.binary_erosion(box)
    return np.argwhere(edge) + (top, left)
