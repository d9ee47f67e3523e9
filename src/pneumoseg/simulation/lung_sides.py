"""Which voxels are lung, to the chest wall, and which lung they belong to.

Lung masks come from many places: some stop short of the wall, some join both lungs in front of the
heart. A simulated gap shows both faults as a seam, so a mask is grown to the wall, closed over its
vessels and divided into sides first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pneumoseg.study import Side

SIDE_LABELS = {Side.RIGHT: 1, Side.LEFT: 2}
"""Labels of the two lungs in a label map; 0 is everything else."""
_WALL_HU = -400.0
"""About half way between aerated lung and soft tissue: where the pleural surface is drawn."""
_GROWTH_PX, _CLOSING_PX = 3, 5
_SMALLEST_SHARE = 0.12
"""Of both lungs in a slice or volume: what is smaller is not a lung of its own."""
_DEEPEST_EROSION_PX = 14

Labels = NDArray[np.uint8]
Flags = NDArray[np.bool_]


def lung_sides(hu: NDArray[np.float32], lungs: Flags) -> Labels:
    """Grow a lung mask to the chest wall and divide it into right and left.

    Args:
        hu: float32 (slices, rows, cols), columns from the patient's right to left.
        lungs: bool, same shape: both lungs, or the one there is.

    Returns:
        uint8 of the same shape: 1 right lung, 2 left lung, 0 elsewhere, vessels included.
    """
    labels = _divide(lungs)
    refined = np.zeros_like(labels)
    for index in range(hu.shape[0]):
        smooth = cv2.GaussianBlur(hu[index], (0, 0), 1.2)
        for label in SIDE_LABELS.values():
            mask = (labels[index] == label).astype(np.uint8)
            if mask.any():
                others = (labels[index] > 0) & (labels[index] != label)
                refined[index][_to_the_wall(mask, smooth) & ~others & (refined[index] == 0)] = label
    return refined


def _to_the_wall(mask: Labels, smooth: NDArray[np.float32]) -> Flags:
    """One lung in one slice, grown over lung tissue and closed over vessels."""
    near = cv2.dilate(mask, _disc(_GROWTH_PX))
    grown = np.where((near > 0) & (smooth < _WALL_HU), 1, mask).astype(np.uint8)
    # A vessel at the hilum is lung; the chest wall between two ribs is not.
    closed = cv2.morphologyEx(grown, cv2.MORPH_CLOSE, _disc(_CLOSING_PX))
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=np.bool_)


def _divide(lungs: Flags) -> Labels:
    """Label the two lungs, cutting them apart where they touch."""
    total = int(lungs.sum())
    labels = np.zeros(lungs.shape, dtype=np.uint8)
    if not total:
        return labels
    seeds: NDArray[np.int32] | None = None
    for depth in range(0, _DEEPEST_EROSION_PX + 1, 2):
        core = _eroded(lungs, depth)
        parts, _ = ndimage.label(core)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        order = np.argsort(sizes)[::-1]
        if order.size > 2 and sizes[order[1]] >= _SMALLEST_SHARE * total:
            seeds = np.zeros(parts.shape, dtype=np.int32)
            middle = [float(ndimage.center_of_mass(parts == part)[2]) for part in order[:2]]
            first, second = np.argsort(middle)
            seeds[parts == order[first]] = SIDE_LABELS[Side.RIGHT]
            seeds[parts == order[second]] = SIDE_LABELS[Side.LEFT]
            break
    if seeds is None:  # one lung alone: its place tells the side
        columns = np.flatnonzero(lungs.any(axis=(0, 1)))
        right = float(columns.mean()) < lungs.shape[2] / 2
        labels[lungs] = SIDE_LABELS[Side.RIGHT if right else Side.LEFT]
        return labels
    for index in range(lungs.shape[0]):
        labels[index] = _nearest_seed(seeds[index], lungs[index])
    return labels


def _nearest_seed(seeds: NDArray[np.int32], lungs: Flags) -> Labels:
    """Each lung voxel of a slice gets the label of the nearest seed; a slice without one, none."""
    if not seeds.any():
        return np.zeros(lungs.shape, dtype=np.uint8)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    return np.where(lungs, seeds[tuple(nearest)], 0).astype(np.uint8)


def _eroded(mask: Flags, depth: int) -> Flags:
    if depth == 0:
        return mask
    disc = _disc(depth)
    return np.stack([cv2.erode(part.astype(np.uint8), disc) > 0 for part in mask])


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
