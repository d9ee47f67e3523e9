"""One phantom patient: anatomy, posture and collapsed lungs, seen as coronal maps or as CT.

Both views come from the same depth intervals (:mod:`pneumoseg.phantom.anatomy`): the maps integrate
them exactly along ``y``, the volume samples them at voxel centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pneumoseg.phantom.anatomy import Anatomy, Posture, draw_anatomy, side_sign
from pneumoseg.phantom.collapse import Collapse, Hemithorax, Shrinkage, hemithorax, solve_shrinkage
from pneumoseg.phantom.intervals import Array, Interval, cage_profile, intersect, length, overlap
from pneumoseg.phantom.skeleton import Bone, bones
from pneumoseg.phantom.vessels import VesselPoints, project_vessels, vessel_points
from pneumoseg.study import Side

SOFT_WATER = np.float32(1.03)
"""Water-equivalent density of muscle, blood and organs (about 30 HU)."""
FAT_WATER = np.float32(0.90)
"""Water-equivalent density of fat (about -100 HU)."""
VESSEL_WATER = np.float32(1.05)
_PERFUSION_EXPONENT = 0.7
"""A collapsing lung loses blood: its density rises slower than its volume falls."""
_DENSEST_LUNG = 0.95
_BULLA_WALL_MM = 0.8
VISCERAL_PLEURA_MM = 0.35
"""Thickness of the visceral pleura with the tissue that it carries along."""
_FREE_PLEURA_MM = 2.0
_LONGEST_SHELL_MM = 12.0
_NOISE_GRID_MM = 4.0
_NOISE_ORIGIN_MM = (-120.0, -260.0)
_NOISE_SHAPE = (150, 130)


@dataclass(frozen=True, eq=False)
class CoronalMaps:
    """Path lengths along ``y`` over a coronal grid, float32 (n, m) each, in mm.

    ``water`` is the water-equivalent path of everything, ``pleural_air`` the length within pleural
    air, ``lung`` the length within lung, ``cavity`` the length within the free pleural cavities.
    """

    water: Array
    pleural_air: Array
    lung: Array
    cavity: Array


@dataclass(frozen=True, eq=False)
class Body:
    """One patient of the phantom; made by :func:`make_body`."""

    seed: int
    anatomy: Anatomy
    posture: Posture
    collapses: tuple[Collapse, ...]
    shrinkages: Mapping[Side, Shrinkage]

    def side(self, side: Side, z: Array, x: Array) -> Hemithorax:
        """Depth intervals of one side over z (n,) and x (m,) in mm."""
        return hemithorax(self.anatomy, side, self.shrinkages.get(side), z, x)

    @cached_property
    def vessels(self) -> Mapping[Side, VesselPoints]:
        """The vessel trees where they now lie."""
        return {s: vessel_points(self.anatomy, s, self.shrinkages.get(s)) for s in Side}

    def degree(self, side: Side) -> float:
        """Stated share of the hemithorax taken by pleural air, 0 for a healthy side."""
        return sum(c.degree for c in self.collapses if c.side is side)

    def lung_water(self, side: Side, z: Array, x: Array) -> Array:
        """Density of the lung relative to water over z (n,) and x (m,): float32 (n, m)."""
        base = 1 + self.anatomy.lung_hu / 1000.0
        volume = 1 - self.degree(side)
        base *= volume**-_PERFUSION_EXPONENT
        shape = self.anatomy.lung(side)
        v = np.clip((z - shape.apex_z) / shape.height, 0, 1.2)
        # Upright, blood pools at the bases (West zones); lying down it is even from head to foot.
        slope = 0.3 if self.posture is Posture.UPRIGHT else 0.05
        gradient = (1 + slope * (v - 0.5))[:, None]
        uneven = self._unevenness(z, x)
        return np.asarray(np.minimum(base * gradient * uneven, _DENSEST_LUNG), dtype=np.float32)

    @cached_property
    def _noise(self) -> Array:
        """Relative density of the lungs on a fixed grid: slow variation and patches of haze."""
        rng = np.random.default_rng([self.seed, 3])
        noise = rng.standard_normal(_NOISE_SHAPE, dtype=np.float32)
        slow = cv2.GaussianBlur(noise, (0, 0), 3.0) * 3.0 * 2 * np.sqrt(np.pi) * 0.06
        fine = cv2.GaussianBlur(noise[::-1], (0, 0), 0.6) * 0.14
        field = 1 + slow + fine
        if rng.random() < 0.35:
            rows, columns = np.mgrid[: _NOISE_SHAPE[0], : _NOISE_SHAPE[1]].astype(np.float32)
            for _ in range(int(rng.integers(1, 4))):
                centre, size = rng.uniform((35, 35), (85, 95)), rng.uniform(3, 11, 2)
                away = ((rows - centre[0]) / size[0]) ** 2 + ((columns - centre[1]) / size[1]) ** 2
                field = field + rng.uniform(0.2, 1.2) * np.exp(-away)
        return np.asarray(np.clip(field, 0.6, 4.0), dtype=np.float32)

    def _unevenness(self, z: Array, x: Array) -> Array:
        rows = ((z - _NOISE_ORIGIN_MM[0]) / _NOISE_GRID_MM).astype(np.float32)
        columns = ((x - _NOISE_ORIGIN_MM[1]) / _NOISE_GRID_MM).astype(np.float32)
        across, down = np.meshgrid(columns, rows)
        return np.asarray(
            cv2.remap(self._noise, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT),
            dtype=np.float32,
        )

    def torso(self, z: Array, x: Array) -> tuple[Interval, Interval, Array]:
        """Trunk, arms, and thickness of the fat in front: intervals and map over z (n,), x (m,)."""
        anatomy = self.anatomy
        shape = anatomy.right
        down = np.clip((z + 55.0) / 85.0, 0, 1)
        slope = down**2 * (3 - 2 * down)
        shoulder = anatomy.neck + (anatomy.shoulder - anatomy.neck) * slope**0.8
        trunk = shape.lateral_r(z) + anatomy.wall
        blend = np.clip((z - 40.0) / 70.0, 0, 1)
        blend = blend**2 * (3 - 2 * blend)
        width = (shoulder * (1 - blend) + trunk * blend).astype(np.float32)[:, None]
        depth = np.maximum(shape.depth(z) + anatomy.wall, 58 + 0.25 * np.clip(z + 40, 0, 80))
        depth = depth.astype(np.float32)[:, None]
        profile = cage_profile(np.abs(x)[None, :] / width)
        centre = shape.centre_y(z)[:, None]
        hit = profile > 0
        breast = self._breasts(z, x) * (profile > 0.25)
        front = np.where(hit, centre - depth * profile - breast, np.float32(1e4))
        back = np.where(hit, centre + depth * profile, np.float32(-1e4))
        axis = anatomy.shoulder - 14.0 + 0.16 * (z - 10.0)
        away = (np.abs(x)[None, :] - axis[:, None]) / 41.0
        cap = np.minimum((z[:, None] - 42.0) / 46.0, 0)
        half = 44.0 * np.sqrt(np.maximum(1 - away**2 - cap**2, 0))
        arm = half > 0
        arms = (
            np.where(arm, 18 - half, 1e4).astype(np.float32),
            np.where(arm, 18 + half, -1e4).astype(np.float32),
        )
        fat = np.float32(0.3 * anatomy.wall) + breast
        return (front.astype(np.float32), back.astype(np.float32)), arms, fat.astype(np.float32)

    def _breasts(self, z: Array, x: Array) -> Array:
        anatomy = self.anatomy
        away_x = (np.abs(x) - 0.6 * anatomy.right.half_width) / (0.52 * anatomy.right.half_width)
        level = 0.78 * anatomy.right.height + (0 if anatomy.female else -30)
        dz = z - level
        away_z = dz / np.where(dz > 0, 48.0, 85.0)  # hangs: a round lower edge, a long upper slope
        inside = np.maximum(1 - away_x[None, :] ** 2 - away_z[:, None] ** 2, 0)
        return (anatomy.breast * inside**0.8).astype(np.float32)

    def airway(self, z: Array, x: Array) -> Interval:
        """Trachea and main bronchi over z (n,) and x (m,)."""
        anatomy = self.anatomy
        shift = anatomy.shift * 0.7 * np.clip((z + 20) / 90, 0, 1)
        radius = anatomy.trachea_radius
        below = z - anatomy.carina_z
        off = x[None, :] - (2 + shift)[:, None]
        squared = np.where((below <= 0)[:, None], radius**2 - off**2, 0)
        for run, reach in ((-0.75, 38.0), (1.1, 34.0)):
            narrowing = 0.5 * np.clip((reach - below) / 15.0, 0, 1)[:, None]
            tube = narrowing * radius**2 - ((off - run * below[:, None]) / np.hypot(1, run)) ** 2
            branch = ((below > 0) & (below < reach))[:, None]
            squared = np.where(branch, np.maximum(squared, tube), squared)
        half = np.sqrt(np.maximum(squared, 0))
        hit = half > 0
        front = np.where(hit, 14 - half, np.float32(1e4))
        return front.astype(np.float32), np.where(hit, 14 + half, np.float32(-1e4)).astype(
            np.float32
        )

    def bones(self, z: Array, x: Array) -> list[Bone]:
        """Bone layers over z (n,) and x (m,)."""
        return bones(self.anatomy, z, x)

    def maps(self, z: Array, x: Array) -> CoronalMaps:
        """Integrate the body along ``y`` over z (n,) and x (m,) in mm, ascending.

        Raises:
            ValueError: z and x do not share one even spacing.
        """
        steps = np.concatenate([np.diff(z), np.diff(x)])
        if np.ptp(steps) > 0.01 * abs(float(steps[0])):
            raise ValueError("coronal maps need one even spacing along z and x")
        trunk, arms, fat = self.torso(z, x)
        thickness = length(trunk)
        water = SOFT_WATER * (thickness + length(arms) - overlap(trunk, arms))
        water -= (SOFT_WATER - FAT_WATER) * np.minimum(fat + 0.3 * self.anatomy.wall, thickness)
        air = np.zeros_like(water)
        lung = np.zeros_like(water)
        cavity = np.zeros_like(water)
        for side in Side:
            half, columns = self._half(side, x)
            sides = self.side(side, z, half)
            free, filled = sides.cavity_path(), sides.lung_path()
            density = self.lung_water(side, z, half)
            change = density * filled - SOFT_WATER * free
            change += project_vessels(self.vessels[side], z, half) * (VESSEL_WATER - density)
            change += self._bulla_change(side, sides, density, z, half)
            if side in self.shrinkages:
                change += _pleural_line(filled, free - filled, float(x[1] - x[0]))
            water[:, columns] += change
            air[:, columns] += np.maximum(free - filled, 0)
            lung[:, columns] += filled
            cavity[:, columns] += free
        for bone in self.bones(z, x):
            water += bone.extra
        water -= SOFT_WATER * length(self.airway(z, x))
        if self.anatomy.stomach is not None:
            water -= SOFT_WATER * length(self.anatomy.stomach.interval(z, x))
        return CoronalMaps(np.maximum(water, 0), air, lung, cavity)

    @staticmethod
    def _half(side: Side, x: Array) -> tuple[Array, slice]:
        """The columns that one lung can reach: its own half and 45 mm beyond the midline."""
        if side is Side.RIGHT:
            columns = slice(0, int(np.searchsorted(x, 45.0)))
        else:
            columns = slice(int(np.searchsorted(x, -45.0)), x.size)
        return x[columns], columns

    def _bulla_change(
        self, side: Side, sides: Hemithorax, density: Array, z: Array, x: Array
    ) -> Array:
        """Water removed by the bullae of one side, and added by their walls."""
        change = np.zeros_like(density)
        for owner, bulla in self.anatomy.bullae:
            if owner is not side:
                continue
            within = length(intersect(bulla.interval(z, x), sides.lung))
            step = float(x[1] - x[0])
            slope_z, slope_x = np.gradient(within, step)
            wall = _BULLA_WALL_MM * np.sqrt(4 + slope_z**2 + slope_x**2)
            change -= density * within
            change += np.where(within > 0, np.minimum(wall, 12.0), 0)
        return change

    @property
    def extent_mm(self) -> tuple[tuple[float, float], ...]:
        """Bounds of a CT volume that holds the chest: (low, high) in mm along z, y, x."""
        shape = self.anatomy.right
        depth = shape.half_depth + self.anatomy.wall + 8
        wide = self.anatomy.shoulder + 10
        return (
            (-30.0, shape.dome_z + 80),
            (-depth - self.anatomy.breast, depth + 12),
            (-wide, wide),
        )


def _pleural_line(lung: Array, air: Array, step: float) -> Array:
    """Water along each ray within the visceral pleura, a shell seen edge on where air borders it.

    The shell's length along the ray is its thickness over the cosine of incidence, which the slope
    of the lung's own path length gives.
    """
    slope_z, slope_x = np.gradient(lung, step)
    shell = VISCERAL_PLEURA_MM * np.sqrt(4 + slope_z**2 + slope_x**2)
    seen = (lung > 0) & (air > _FREE_PLEURA_MM)
    return np.where(seen, np.minimum(shell, _LONGEST_SHELL_MM), 0).astype(np.float32)


def make_body(
    seed: int,
    *,
    collapse: Collapse | tuple[Collapse, ...] | None = None,
    posture: Posture = Posture.UPRIGHT,
    bullae: bool = False,
) -> Body:
    """Make one patient.

    Args:
        seed: decides the anatomy, the same with and without disease.
        collapse: the collapsed lung or lungs, None for a healthy chest.
        posture: free air rises: apical when upright, anterior when supine.
        bullae: whether the upper lungs have bullae, a mimic of pneumothorax.

    Raises:
        ValueError: two collapses of the same side.
    """
    collapses = (
        () if collapse is None else (collapse if isinstance(collapse, tuple) else (collapse,))
    )
    if len({c.side for c in collapses}) != len(collapses):
        raise ValueError("one collapse per side, got two of the same side")
    shift = sum(-side_sign(c.side) * c.tension_mm for c in collapses)
    anatomy = draw_anatomy(seed, posture, shift, bullae)
    shrinkages = {c.side: solve_shrinkage(anatomy, c, posture) for c in collapses}
    return Body(seed, anatomy, posture, collapses, shrinkages)
