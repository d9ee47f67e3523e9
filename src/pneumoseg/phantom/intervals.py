"""Depth intervals: how shapes are written as what a ray along ``y`` meets over the coronal plane.

An interval is a pair of maps over (z, x), the front and the back depth. Films integrate intervals,
CT volumes sample them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Interval = tuple[Array, Array]
"""Front and back depth in mm along ``y``; empty where front > back."""

FAR_MM = np.float32(1e4)
"""Depth that no body reaches: an empty interval is (FAR_MM, -FAR_MM)."""
_TABLE_SIZE = 4096


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid turned by ``angle_rad`` in the coronal plane; centre and semi-axes in mm."""

    centre_zyx: tuple[float, float, float]
    axes_zyx: tuple[float, float, float]
    angle_rad: float = 0.0

    def interval(self, z: Array, x: Array) -> Interval:
        """Depth interval over the grid of z (n,) and x (m,): two float32 (n, m)."""
        dz = (z - self.centre_zyx[0]).astype(np.float32)[:, None]
        dx = (x - self.centre_zyx[2]).astype(np.float32)[None, :]
        cosine, sine = np.float32(np.cos(self.angle_rad)), np.float32(np.sin(self.angle_rad))
        across = (cosine * dx + sine * dz) / np.float32(self.axes_zyx[2])
        along = (cosine * dz - sine * dx) / np.float32(self.axes_zyx[0])
        inside = 1 - across * across - along * along
        half = np.float32(self.axes_zyx[1]) * np.sqrt(np.maximum(inside, 0))
        centre = np.float32(self.centre_zyx[1])
        hit = inside > 0
        return np.where(hit, centre - half, FAR_MM), np.where(hit, centre + half, -FAR_MM)


@lru_cache(maxsize=1)
def _depth_table() -> tuple[Array, Array]:
    """Depth of the rib cage by r / lateral border, and rounding of the lung's medial edge."""
    step = np.linspace(0, 1, _TABLE_SIZE)
    lateral = (1 - step**2.4) ** (1 / 2.1)
    medial = np.sqrt(1 - (1 - np.clip(step, 0, 1)) ** 5)
    return lateral.astype(np.float32), medial.astype(np.float32)


def cage_profile(ratio: Array) -> Array:
    """Relative depth of the rib cage, 1 at the midline and 0 at the lateral border and beyond."""
    return _look_up(_depth_table()[0], ratio)


def medial_profile(ratio: Array) -> Array:
    """Relative depth of the lung by its distance from the medial border, 0 at the border."""
    return _look_up(_depth_table()[1], ratio)


def _look_up(table: Array, ratio: Array) -> Array:
    index = np.clip(ratio * (_TABLE_SIZE - 1) + 0.5, 0, _TABLE_SIZE - 1).astype(np.int32)
    return np.asarray(table[index], dtype=np.float32)


def overlap(first: Interval, second: Interval) -> Array:
    """Length in mm that two depth intervals share."""
    front, back = intersect(first, second)
    return np.asarray(np.maximum(back - front, 0), dtype=np.float32)


def intersect(first: Interval, second: Interval) -> Interval:
    """The common part of two depth intervals."""
    return np.maximum(first[0], second[0]), np.minimum(first[1], second[1])


def length(interval: Interval) -> Array:
    """Length of a depth interval in mm, 0 where empty."""
    return np.asarray(np.maximum(interval[1] - interval[0], 0), dtype=np.float32)


def hull(first: Interval, second: Interval) -> Interval:
    """The smallest interval that holds both."""
    return np.minimum(first[0], second[0]), np.maximum(first[1], second[1])
