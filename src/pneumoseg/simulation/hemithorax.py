"""One side of a chest as a scan shows it: where the lung ends, how far the wall blurs into it.

Measured once for a scan, used for every collapse that is simulated in it. Distances are taken
within each slice, where voxels are small and square.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr, ndtri

from pneumoseg.simulation.lung_sides import SIDE_LABELS, Labels
from pneumoseg.simulation.scan_noise import Array, ScanNoise
from pneumoseg.study import Side

FAR_PX = 60.0
"""Larger distances count as this."""
RIM_PX = 3.0
"""Depth over which the scan's blur mixes chest wall into the lung; see :func:`clean_lung`."""
_ROOM_PX = 4
_WALL_HU = (-120.0, 200.0)
_SOFT_HU, _LEAST_STEP_HU, _LUNG_HU = 30.0, 300.0, -850.0
_SMOOTHING_PX = 1.0


@dataclass(frozen=True, eq=False)
class Hemithorax:
    """One side of a scan, made ready: the box around the lung and what is known within it.

    All arrays have the shape of ``hu[box]``.

    Attributes:
        side: of the patient.
        box: slices of the scan's array.
        inside: bool, the pleural cavity with its vessels.
        hull: float32, distance within each slice to the outline of the convex hull in mm, positive
            inside.
        reach: float32, distance within each slice to the edge of ``inside`` in pixels, negative
            outside.
        wall_share: float32 in [0, 1], how much of each voxel is chest wall, after the scan's blur.
        wall_hu: float32, the wall nearby.
        hilum_mm: centre of the collapse in the box's own mm.
        spacing_mm: between slices, rows, columns.
    """

    side: Side
    box: tuple[slice, slice, slice]
    inside: NDArray[np.bool_]
    hull: Array
    reach: Array
    wall_share: Array
    wall_hu: Array
    hilum_mm: Array
    spacing_mm: tuple[float, float, float]


def open_hemithorax(
    hu: Array, lungs: Labels, side: Side, spacing_mm: tuple[float, float, float], noise: ScanNoise
) -> Hemithorax | None:
    """Measure one side of a scan; None where it shows no lung.

    Args:
        hu: float32 (slices, rows, cols).
        lungs: uint8, same shape: 1 right, 2 left.
        side: which.
        spacing_mm: between slices, rows, columns.
        noise: the scan's own.
    """
    found = ndimage.find_objects(lungs == SIDE_LABELS[side], 1)
    if not found or found[0] is None:
        return None
    s, r, c = found[0]
    rows, columns = hu.shape[1:]
    box = (
        s,
        slice(max(0, r.start - _ROOM_PX), min(rows, r.stop + _ROOM_PX)),
        slice(max(0, c.start - _ROOM_PX), min(columns, c.stop + _ROOM_PX)),
    )
    inside = lungs[box] == SIDE_LABELS[side]
    reach = np.stack([_signed_distance(part) for part in inside])
    hull = np.stack([_signed_distance(_convex(part)) for part in inside]) * spacing_mm[2]
    wall_share, wall_hu = _wall(hu[box], inside, reach, noise)
    anchor = _hilum(inside, side) * np.asarray(spacing_mm)
    return Hemithorax(
        side,
        box,
        inside,
        hull.astype(np.float32),
        reach,
        wall_share,
        wall_hu,
        anchor.astype(np.float32),
        spacing_mm,
    )


def clean_lung(part: Array, chest: Hemithorax) -> Array:
    """Lung tissue to sample a collapsed lung from, without the chest wall at its edge.

    The scan's blur brightens the lung's rim. A lung that falls from the wall takes its tissue
    along, and the bright rim would draw a second wall in the middle of the chest. So the rim, up to
    ``RIM_PX`` deep, and everything beyond the lung take the value that lies as far inwards of the
    rim as they lie outwards, as in a mirror.

    Args:
        part: float32, HU of ``chest.box``.
        chest: the side.

    Returns:
        float32, same shape; typical lung in slices without any.
    """
    cleaned = part.copy()
    for index in range(part.shape[0]):
        core = chest.reach[index] >= RIM_PX
        if not core.any():
            core = chest.inside[index]
        if not core.any():
            cleaned[index] = np.float32(_LUNG_HU)
            continue
        nearest = ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
        here = np.indices(core.shape)
        mirrored = 2 * nearest - here
        for axis, size in enumerate(core.shape):
            mirrored[axis] = np.clip(mirrored[axis], 0, size - 1)
        usable = core[tuple(mirrored)]
        chosen = np.where(usable, mirrored, nearest)
        cleaned[index] = part[index][tuple(chosen)]
    return cleaned


def _wall(
    hu: Array, inside: NDArray[np.bool_], reach: Array, noise: ScanNoise
) -> tuple[Array, Array]:
    """Share of chest wall in each voxel and the wall's HU nearby."""
    share, wall = np.ones_like(hu), np.full_like(hu, _SOFT_HU)
    for index in range(hu.shape[0]):
        if not inside[index].any():
            continue
        outer = (reach[index] < -1.5).astype(np.float32)
        lung = (reach[index] > RIM_PX).astype(np.float32)
        bounded = np.clip(hu[index], *_WALL_HU)
        around = _mean_nearby(bounded, outer, 3.0, _SOFT_HU)
        nearby = _mean_nearby(np.minimum(hu[index], -500), lung, 4.0, _LUNG_HU)
        smooth = cv2.GaussianBlur(hu[index], (0, 0), _SMOOTHING_PX)
        step = np.maximum(around - nearby, _LEAST_STEP_HU)
        seen = np.clip((smooth - nearby) / step, 1e-4, 1 - 1e-4)
        # Undo the smoothing: an edge of blur s and smoothing g is as wide as sqrt(s² + g²).
        ratio = np.sqrt(1 + (_SMOOTHING_PX / noise.psf_px) ** 2)
        sharp = ndtr(ratio * ndtri(seen))
        taper = np.clip((RIM_PX + 0.5 - reach[index]) / 2.5, 0, 1)
        share[index] = np.where(reach[index] < -1, 1, sharp * taper)
        wall[index] = around
    return share, wall


def _mean_nearby(values: Array, weights: Array, sigma_px: float, otherwise: float) -> Array:
    total = cv2.GaussianBlur(values * weights, (0, 0), sigma_px)
    weight = cv2.GaussianBlur(weights, (0, 0), sigma_px)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), np.float32(otherwise))


def _signed_distance(mask: NDArray[np.bool_]) -> Array:
    """Distance in pixels to the edge of a mask (rows, cols), positive inside, within 60."""
    if not mask.any():
        return np.full(mask.shape, -FAR_PX, dtype=np.float32)
    padded = np.pad(mask, 1).astype(np.uint8)
    within = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    beyond = cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    signed = np.where(mask, within - 0.5, 0.5 - beyond)
    return np.clip(signed, -FAR_PX, FAR_PX).astype(np.float32)


def _convex(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    places = np.argwhere(mask)
    if places.shape[0] < 3:
        return mask
    filled = mask.astype(np.uint8)
    outline = cv2.convexHull(places[:, ::-1].astype(np.int32))
    cv2.fillConvexPoly(filled, outline, 1)
    return filled > 0


def _hilum(inside: NDArray[np.bool_], side: Side) -> NDArray[np.float64]:
    """Index (slice, row, col) of the lung's medial border at mid height, its hinge."""
    profile = inside.sum(axis=(1, 2))
    middle = int(np.round(np.average(np.arange(profile.size), weights=profile)))
    level = inside[middle]
    if not level.any():
        middle = int(np.argmax(profile))
        level = inside[middle]
    rows = np.flatnonzero(level.any(axis=1))
    low, high = np.quantile(rows, (0.4, 0.75))
    band = rows[(rows >= low) & (rows <= high)]
    if side is Side.RIGHT:
        borders = [int(np.flatnonzero(level[row])[-1]) for row in band]
        best = int(np.argmax(borders))
    else:
        borders = [int(np.flatnonzero(level[row])[0]) for row in band]
        best = int(np.argmin(borders))
    return np.array([middle, band[best], borders[best]], dtype=np.float64)
