"""The pulmonary vessel tree: branching tubes from each hilum, carried along when a lung shrinks.

Branch radii follow Murray's law (the cube of the parent's radius is the sum of the children's). The
tree is sampled as points with a volume each, which are added to films and CT alike, so that no
vessel is lost for being thinner than a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.anatomy import Anatomy, LungShape, side_sign
from pneumoseg.phantom.collapse import Shrinkage, hemithorax
from pneumoseg.phantom.intervals import Array, Interval, cage_profile
from pneumoseg.study import Side

_TRUNKS = 13
_GENERATIONS = 6
_POINTS_PER_BRANCH = 14
_FIRST_RADIUS_MM = 4.6
_MURRAY = 2.0 ** (-1.0 / 3.0)
_LOOKUP_MM = 2.5
_MARGIN_MM = 3.0
"""Vessels end this far under the surface of the lung."""
_RADIUS_CLASSES_MM = (0.0, 0.9, 1.8, 3.2, 99.0)


@dataclass(frozen=True, eq=False)
class VesselPoints:
    """Samples along the tree: position (k, 3) as z, y, x in mm; radius (k,) and volume (k,)."""

    zyx: Array
    radius: Array
    volume: Array


def vessel_points(anatomy: Anatomy, side: Side, shrinkage: Shrinkage | None) -> VesselPoints:
    """Sample the vessel tree of one lung where it now lies.

    The tree of a seed is the same in health and in collapse.
    """
    rng = np.random.default_rng([anatomy.vessel_seed, 0 if side is Side.RIGHT else 1])
    shape = anatomy.lung(side)
    points, radius, length = _grow(rng, shape)
    keep = _inside(anatomy, side, None, points)
    points, radius, length = points[keep], radius[keep], length[keep]
    if shrinkage is not None:
        points = _carry(shape, shrinkage, points)
        keep = _inside(anatomy, side, shrinkage, points)
        points, radius, length = points[keep], radius[keep], length[keep]
    zyx = points.copy()
    zyx[:, 2] *= side_sign(side)
    return VesselPoints(zyx, radius, (np.pi * radius**2 * length).astype(np.float32))


def _grow(rng: np.random.Generator, shape: LungShape) -> tuple[Array, Array, Array]:
    """Points (k, 3) as z, y, r; radius (k,); length (k,) of the healthy tree, all float32."""
    angle = np.linspace(-1.35, 1.5, _TRUNKS) + rng.normal(0, 0.12, _TRUNKS)
    heading = np.stack(
        [np.sin(angle), rng.uniform(-0.6, 0.6, _TRUNKS), np.cos(angle) + 0.15], axis=1
    )
    start = np.tile([shape.hilum_z, 5.0, shape.medial_r + shape.shift + 6.0], (_TRUNKS, 1))
    start[:, 0] += 14 * np.sin(angle)
    radius = _FIRST_RADIUS_MM * rng.uniform(0.75, 1.1, _TRUNKS)
    reach = np.full(_TRUNKS, 30.0) * rng.uniform(0.7, 1.3, _TRUNKS)
    parts, radii, lengths = [], [], []
    step = np.linspace(0, 1, _POINTS_PER_BRANCH, endpoint=False)[None, :, None]
    for _ in range(_GENERATIONS):
        heading = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        bend = rng.normal(0, 0.16, heading.shape)
        end_heading = heading + bend
        path = start[:, None] + reach[:, None, None] * (
            step * heading[:, None] + 0.5 * step**2 * bend[:, None]
        )
        taper = radius[:, None] * np.linspace(1, 0.85, _POINTS_PER_BRANCH)[None]
        parts.append(path.reshape(-1, 3))
        radii.append(taper.reshape(-1))
        lengths.append(np.repeat(reach / _POINTS_PER_BRANCH, _POINTS_PER_BRANCH))
        start = np.repeat(path[:, -1], 2, axis=0)
        spread = rng.normal(0, 0.42, (start.shape[0], 3))
        spread[1::2] = -spread[::2]  # two children turn away from each other
        heading = np.repeat(end_heading, 2, axis=0) + spread
        share = rng.uniform(0.75, 1.15, start.shape[0])
        radius = np.repeat(radius * 0.85, 2) * _MURRAY * share
        reach = np.repeat(reach, 2) * rng.uniform(0.62, 0.98, start.shape[0])
    return (
        np.concatenate(parts).astype(np.float32),
        np.concatenate(radii).astype(np.float32),
        np.concatenate(lengths).astype(np.float32),
    )


def _inside(
    anatomy: Anatomy, side: Side, shrinkage: Shrinkage | None, points: Array
) -> NDArray[np.bool_]:
    """Whether each point (k, 3) as z, y, r lies within the lung, looked up on a coarse grid."""
    shape = anatomy.lung(side)
    z = np.arange(shape.apex_z, shape.dome_z + 110, _LOOKUP_MM, dtype=np.float32)
    r = np.arange(-40, shape.half_width + 10, _LOOKUP_MM, dtype=np.float32)
    x = (r * side_sign(side)).astype(np.float32)
    sides = hemithorax(anatomy, side, shrinkage, z, x)
    rows = np.rint((points[:, 0] - z[0]) / _LOOKUP_MM).astype(np.int64)
    columns = np.rint((points[:, 2] - r[0]) / _LOOKUP_MM).astype(np.int64)
    known = (rows >= 0) & (rows < z.size) & (columns >= 0) & (columns < r.size)
    spot = (np.clip(rows, 0, z.size - 1), np.clip(columns, 0, r.size - 1))
    y = points[:, 1]

    def holds(interval: Interval, margin: float) -> NDArray[np.bool_]:
        front, back = interval[0][spot], interval[1][spot]
        return np.asarray((y > front + margin) & (y < back - margin), dtype=np.bool_)

    lung = known & holds(sides.lung, _MARGIN_MM)
    return np.asarray(lung & ~holds(sides.lung_dome, 0) & ~holds(sides.heart, 0), dtype=np.bool_)


def _carry(shape: LungShape, shrinkage: Shrinkage, points: Array) -> Array:
    """Move points (k, 3) of the healthy lung to where the shrunk lung holds them."""
    z, y, r = points.T
    medial, centre = shape.medial_border_r(z), shape.centre_y(z)
    front, back = shrinkage.front_and_back(z)
    offset = y - centre
    # The front scale may be negative (the front surface falls behind the middle): blend by depth.
    half = np.maximum(shape.depth(z) * cage_profile(np.abs(r) / shape.lateral_r(z)), 1e-3)
    share = np.clip((offset / half + 1) / 2, 0, 1)
    moved_y = centre + half * (-front * (1 - share) + back * share)
    moved_r = medial + (r - medial) * shrinkage.width(z)
    return np.stack([shrinkage.collapsed_z(z), moved_y, moved_r], axis=1).astype(np.float32)


def project_vessels(points: VesselPoints, z: Array, x: Array) -> Array:
    """Path length of the vessels over the grid z (n,), x (m,), evenly spaced: float32 (n, m) mm."""
    total = np.zeros((z.size, x.size), dtype=np.float32)
    step = float(x[1] - x[0])
    for low, high in zip(_RADIUS_CLASSES_MM[:-1], _RADIUS_CLASSES_MM[1:], strict=True):
        chosen = (points.radius >= low) & (points.radius < high)
        if not chosen.any():
            continue
        sigma = 0.55 * float(points.radius[chosen].mean())
        rows = (points.zyx[chosen, 0] - z[0]) / step
        columns = (points.zyx[chosen, 2] - x[0]) / step
        layer = splat(rows, columns, points.volume[chosen] / step**2, total.shape)
        total += cv2.GaussianBlur(layer, (0, 0), max(sigma / step, 0.45))
    return total


def splat(rows: Array, columns: Array, weights: Array, shape: tuple[int, int]) -> Array:
    """Add weights (k,) at fractional pixel positions, shared bilinearly: float32 ``shape``."""
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = rows - top, columns - left
    inside = (top >= 0) & (left >= 0) & (top < shape[0] - 1) & (left < shape[1] - 1)
    index = (top * shape[1] + left)[inside]
    down, right, weights = down[inside], right[inside], weights[inside]
    total = np.zeros(shape[0] * shape[1])
    for offset, share in (
        (0, (1 - down) * (1 - right)),
        (1, (1 - down) * right),
        (shape[1], down * (1 - right)),
        (shape[1] + 1, down * right),
    ):
        total += np.bincount(index + offset, weights * share, minlength=total.size)[: total.size]
    return total.reshape(shape).astype(np.float32)
