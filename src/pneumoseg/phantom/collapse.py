"""How a lung falls away from the chest wall: the pleural gap of a stated degree.

The collapsed lung is the healthy one, shrunk towards its base and hilum by scales that depend on
height alone, so that its surfaces stay depth intervals. Upright, the gap opens at the apex and runs
down the lateral wall; supine, it opens in front and above the diaphragm (Tocino et al., AJR 1985,
distribution of pneumothorax in the supine patient). One amplitude drives all scales and is solved
for, so that the air takes the stated share of the hemithorax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoseg.phantom.anatomy import Anatomy, LungShape, Posture, side_sign
from pneumoseg.phantom.intervals import (
    Array,
    Interval,
    cage_profile,
    hull,
    intersect,
    length,
    medial_profile,
    overlap,
)
from pneumoseg.study import Side

LARGEST_DEGREE = 0.9
"""Total collapse: an airless adult lung still fills about a tenth of its hemithorax."""
_RECESS_MM = 45.0
_SOLVER_GRID_MM = 5.0
_SOLVER_STEPS = 12


@dataclass(frozen=True)
class Collapse:
    """One collapsed lung.

    ``degree`` is the share of the hemithorax taken by pleural air, above 0 up to 0.9 (total
    collapse); ``tension_mm`` pushes the mediastinum to the other side.
    """

    side: Side
    degree: float
    tension_mm: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.degree <= LARGEST_DEGREE:
            raise ValueError(f"degree must lie in (0, {LARGEST_DEGREE}], got {self.degree}")
        if not 0.0 <= self.tension_mm <= 40.0:
            raise ValueError(f"tension_mm must lie in [0, 40], got {self.tension_mm}")


@dataclass(frozen=True)
class Shrinkage:
    """The scales of a collapsed lung; ``amplitude`` 0 leaves it healthy, 1 is the most."""

    shape: LungShape
    posture: Posture
    amplitude: float

    @property
    def anchor_z(self) -> float:
        """Level that stays in place: the base for small gaps, the hilum for large ones."""
        if self.posture is Posture.SUPINE:
            return self.shape.hilum_z
        # The deep recess behind the diaphragm stays filled until the lung has fallen far.
        base = self.shape.dome_z + _RECESS_MM
        return base + (self.shape.hilum_z - base) * self.amplitude**2

    @property
    def scale_z(self) -> float:
        """Height of the lung relative to health."""
        if self.posture is Posture.SUPINE:
            return 1 - 0.62 * self.amplitude**2
        return 1 - 0.66 * self.amplitude

    @property
    def base_lift(self) -> float:
        """How far the lung's base has risen from the diaphragm in mm."""
        return (self.shape.dome_z - self.anchor_z) * (1 - self.scale_z)

    def healthy_z(self, z: Array) -> Array:
        """Level in the healthy lung of what now lies at z (n,)."""
        return np.asarray(self.anchor_z + (z - self.anchor_z) / self.scale_z, dtype=np.float32)

    def collapsed_z(self, z: Array) -> Array:
        """Inverse of :meth:`healthy_z`."""
        return np.asarray(self.anchor_z + (z - self.anchor_z) * self.scale_z, dtype=np.float32)

    def width(self, z: Array) -> Array:
        """Width of the lung relative to health at healthy level z (n,)."""
        v = (z - self.shape.apex_z) / self.shape.height
        if self.posture is Posture.SUPINE:
            taper = np.clip((v - 0.35) / 0.65, 0, 1) ** 1.5
        else:
            taper = np.clip(1 - v / 0.8, 0, 1)
        share = taper + (1 - taper) * self.amplitude**1.5
        return np.asarray((1 - 0.76 * self.amplitude * share), dtype=np.float32)

    def front_and_back(self, z: Array) -> tuple[Array, Array]:
        """Scale of the front and of the back half-depth at healthy level z (n,)."""
        a = self.amplitude
        ones = np.ones_like(z, dtype=np.float32)
        if self.posture is Posture.SUPINE:
            v = np.clip((z - self.shape.apex_z) / self.shape.height, 0, 1)
            front = 1 - (1.75 * a * (0.35 + 0.65 * v)).astype(np.float32)
            return np.maximum(front, np.float32(-0.55)), ones * np.float32(1 - 0.1 * a)
        scale = 1 - 0.05 * a - 0.6 * a**2
        return ones * np.float32(scale), ones * np.float32(scale)


@dataclass(frozen=True, eq=False)
class Hemithorax:
    """Depth intervals of one side over a coronal grid, each pair float32 (n, m) in mm.

    The free cavity is ``cavity`` less ``dome`` less ``heart``; the lung is ``lung`` less
    ``lung_dome`` less ``heart`` and never leaves the free cavity; between them is pleural air.
    """

    cavity: Interval
    lung: Interval
    dome: Interval
    lung_dome: Interval
    heart: Interval

    def cavity_path(self) -> Array:
        """Length of each ray within the free cavity in mm, float32 (n, m)."""
        return _without(self.cavity, self.dome, self.heart)

    def lung_path(self) -> Array:
        """Length of each ray within the lung in mm, float32 (n, m)."""
        return _without(self.lung, self.lung_dome, self.heart)


def _without(whole: Interval, first: Interval, second: Interval) -> Array:
    """Length of ``whole`` outside both others."""
    both = intersect(first, second)
    path = length(whole) - overlap(whole, first) - overlap(whole, second) + overlap(whole, both)
    return np.asarray(np.maximum(path, 0), dtype=np.float32)


def lung_interval(shape: LungShape, shrinkage: Shrinkage | None, z: Array, r: Array) -> Interval:
    """Depth interval of the cavity (``shrinkage`` None) or the shrunk lung over z (n,), r (m,)."""
    level = z if shrinkage is None else shrinkage.healthy_z(z)
    medial, lateral = shape.medial_border_r(level)[:, None], shape.lateral_r(level)[:, None]
    inward = r[None, :] - medial
    if shrinkage is not None:
        inward = inward / shrinkage.width(level)[:, None]
    profile = cage_profile(np.abs(inward + medial) / lateral)
    # The apex is as round towards the midline as it is outwards.
    profile = profile * medial_profile(inward / np.maximum(lateral - medial, 1e-3))
    depth, centre = shape.depth(level)[:, None], shape.centre_y(level)[:, None]
    if shrinkage is None:
        return centre - depth * profile, centre + depth * profile
    front, back = shrinkage.front_and_back(level)
    return centre - depth * front[:, None] * profile, centre + depth * back[:, None] * profile


def heart_interval(anatomy: Anatomy, z: Array, x: Array) -> Interval:
    """Depth interval of heart and great vessels over z (n,) and x (m,)."""
    whole = anatomy.heart[0].interval(z, x)
    for part in anatomy.heart[1:]:
        whole = hull(whole, part.interval(z, x))
    return whole


def hemithorax(
    anatomy: Anatomy, side: Side, shrinkage: Shrinkage | None, z: Array, x: Array
) -> Hemithorax:
    """Depth intervals of one side over z (n,) and x (m,), patient coordinates in mm."""
    shape = anatomy.lung(side)
    r = (x * side_sign(side)).astype(np.float32)
    heart = heart_interval(anatomy, z, x)
    cavity = lung_interval(shape, None, z, r)
    dome = shape.dome(z, r)
    if shrinkage is None:
        return Hemithorax(cavity, cavity, dome, dome, heart)
    lung = intersect(lung_interval(shape, shrinkage, z, r), cavity)
    # The lung never dips below the diaphragm.
    lung_dome = hull(dome, shape.dome((z + shrinkage.base_lift).astype(np.float32), r))
    return Hemithorax(cavity, lung, dome, lung_dome, heart)


def solve_shrinkage(anatomy: Anatomy, collapse: Collapse, posture: Posture) -> Shrinkage:
    """Find the shrinkage that gives the stated degree, by bisection on a coarse grid."""
    shape = anatomy.lung(collapse.side)
    z = np.arange(shape.apex_z, shape.dome_z + 110, _SOLVER_GRID_MM, dtype=np.float32)
    r = np.arange(-40, shape.half_width + 5, _SOLVER_GRID_MM, dtype=np.float32)
    x = (r * side_sign(collapse.side)).astype(np.float32)
    low, high = 0.0, 1.0
    for _ in range(_SOLVER_STEPS):
        middle = (low + high) / 2
        sides = hemithorax(anatomy, collapse.side, Shrinkage(shape, posture, middle), z, x)
        degree = 1 - float(sides.lung_path().sum()) / float(sides.cavity_path().sum())
        low, high = (middle, high) if degree < collapse.degree else (low, middle)
    return Shrinkage(shape, posture, (low + high) / 2)
