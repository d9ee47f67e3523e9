"""Bones as thin sheets and tubes: path lengths along ``y`` and where they lie in depth.

A bone is given by how much water its mineral adds over soft tissue, in mm along each ray
(``extra``), and by the depth interval it is spread over, so that film and CT hold the same bone.
Cortical bone is taken as 1400 HU and marrow as 200 HU above soft tissue (Schneider et al., Phys Med
Biol 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.anatomy import Anatomy
from pneumoseg.phantom.intervals import FAR_MM, Array, Interval, cage_profile
from pneumoseg.study import Side

CORTICAL_EXTRA = np.float32(1.4)
"""Water-equivalent mm added by 1 mm of cortical bone in place of soft tissue."""
MARROW_EXTRA = np.float32(0.2)
_CORTEX_MM = 1.2
_RIB_THICKNESS_MM = 6.5
_RIB_OUTSET_MM = 4.0
_OBLIQUITY_LIMIT = 4.0
_CROWN_MM = 14.0
_RIB_COUNT = 12
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone layer over a coronal grid: ``extra`` (n, m), mm of water, spread over ``depth``."""

    extra: Array
    depth: Interval


def bones(anatomy: Anatomy, z: Array, x: Array) -> list[Bone]:
    """All bones over the grid z (n,) and x (m,), evenly spaced and ascending, in mm."""
    layers = [*_ribs(anatomy, z, x), _spine(anatomy, z, x), *_clavicles(anatomy, z, x)]
    layers.append(_shoulder_blades(anatomy, z, x))
    return layers


def _tube(distance: Array, half_height: NDArray[np.floating] | float, thickness: float) -> Array:
    """Extra water of an elliptical tube with a cortex, by distance from its axis in mm."""
    half = np.asarray(half_height, dtype=np.float32)
    outer = 1 - (distance / half) ** 2
    inner = 1 - (distance / np.maximum(half - np.float32(_CORTEX_MM), 1e-3)) ** 2
    whole = thickness * np.sqrt(np.maximum(outer, 0))
    marrow = (thickness - 2 * _CORTEX_MM) * np.sqrt(np.maximum(inner, 0))
    return np.asarray(CORTICAL_EXTRA * (whole - marrow) + MARROW_EXTRA * marrow, dtype=np.float32)


def _ribs(anatomy: Anatomy, z: Array, x: Array) -> list[Bone]:
    """Back and front halves of the ribs, as two curved sheets outside the lungs."""
    # The first ribs ring the apex a little above the lung.
    level = (z + _CROWN_MM * np.clip(1 - z / 60.0, 0, 1)).astype(np.float32)
    crown = np.clip((z + _CROWN_MM - anatomy.right.apex_z) / 4.0, 0, 1)
    width = np.where(
        x[None, :] < 0,
        anatomy.right.lateral_r(level)[:, None],
        anatomy.left.lateral_r(level)[:, None],
    ) + np.float32(_RIB_OUTSET_MM)
    ratio = (np.abs(x)[None, :] / width).astype(np.float32)
    visible = np.clip((1 - ratio) * width / 1.5, 0, 1) * crown[:, None]
    profile = cage_profile(ratio)
    half_depth = anatomy.right.depth(level)[:, None] + _RIB_OUTSET_MM
    centre = anatomy.right.centre_y(level)[:, None]
    angle = np.arcsin(np.minimum(ratio, 1)) / np.float32(np.pi)  # 0 at the spine, 0.5 at the side
    layers = []
    step = (abs(float(z[1] - z[0])), abs(float(x[1] - x[0])))
    for sign, turn in ((1, angle), (-1, np.float32(1) - angle)):
        surface = centre + sign * half_depth * profile
        slope_z, slope_x = np.gradient(surface, *step)
        oblique = np.minimum(np.sqrt(1 + slope_z**2 + slope_x**2), _OBLIQUITY_LIMIT)
        extra = _rib_sheet(anatomy, z, turn.astype(np.float32), front=sign < 0) * oblique
        near_spine = np.abs(x)[None, :] < (16 if sign > 0 else 30)
        extra = np.where(near_spine, 0, extra * visible) * np.float32(anatomy.bone)
        half = 0.5 * _RIB_THICKNESS_MM * oblique
        layers.append(Bone(extra.astype(np.float32), (surface - half, surface + half)))
    return layers


def _rib_sheet(anatomy: Anatomy, z: Array, turn: Array, *, front: bool) -> Array:
    """Extra water of the ribs across the sheet, seen face on, by angle ``turn`` (n, m) in [0, 1].

    Rib k at angle t lies at z = first + pitch k + (base + drop k) t, which is solved for k.
    """
    base = np.float32(anatomy.rib_drop * 4.0)
    # Lower ribs slope more, up to the seventh; a mild bend keeps the back part nearly level.
    bent = turn**1.25
    pitch = np.float32(anatomy.rib_pitch) + np.float32(anatomy.rib_drop * 0.55) * bent
    number = (z[:, None] - np.float32(anatomy.rib_first_z) - base * bent) / pitch
    nearest = np.rint(number)
    index = np.clip(nearest, 0, _RIB_COUNT + 1).astype(np.int32)
    offsets = np.asarray(anatomy.rib_offsets, dtype=np.float32)[index]
    distance = (number - nearest - offsets) * pitch
    flatter = 1.15 if front else 1.0
    extra = _tube(distance, anatomy.rib_half_height * flatter, _RIB_THICKNESS_MM)
    last = 8 if front else _RIB_COUNT
    extra = np.where((nearest >= 0) & (nearest <= last), extra, 0)
    if front:  # ribs end in cartilage towards the sternum
        extra = extra * np.clip((0.87 - turn) / 0.04, 0, 1) * np.float32(0.9)
    return np.asarray(extra, dtype=np.float32)


def _spine(anatomy: Anatomy, z: Array, x: Array) -> Bone:
    """Vertebral bodies with end plates, pedicles and spinous processes along the midline."""
    turn = (z / anatomy.spine_pitch + anatomy.spine_phase) % 1.0
    body = np.clip((0.41 - np.abs(turn - 0.5)) * anatomy.spine_pitch, 0, 1)
    plate = np.exp(-(((np.abs(turn - 0.5) - 0.38) * anatomy.spine_pitch / 1.2) ** 2))
    half = 15.0 + 0.016 * np.clip(z, -60, 300)
    across = np.abs(x)[None, :] / half[:, None]
    column = np.sqrt(np.maximum(1 - across**4, 0)) * (28 * 0.22 * body + 9 * plate)[:, None]
    edge = np.exp(-(((across - 0.95) * half[:, None] / 1.2) ** 2)) * (5 * body)[:, None]
    level = ((turn - 0.35) * anatomy.spine_pitch)[:, None]
    pedicle = 7 * np.exp(-(((np.abs(x)[None, :] - 10.5) / 3.2) ** 2) - (level / 4.0) ** 2)
    process = 6 * np.exp(-((x[None, :] / 2.5) ** 2) - ((level - 9) / 5.5) ** 2)
    extra = ((column + edge + pedicle + process) * anatomy.bone).astype(np.float32)
    front = np.full_like(extra, 38.0)
    return Bone(extra, (front, front + np.float32(32.0)))


def _clavicles(anatomy: Anatomy, z: Array, x: Array) -> list[Bone]:
    """Two S-shaped tubes from the sternum to the shoulders."""
    r = np.abs(x)
    along = np.clip((r - 16) / 140.0, 0, 1)
    lean = np.where(x < 0, 1.0, -1.0) * 0.02 * r
    axis_z = anatomy.clavicle_z + anatomy.clavicle_slope * 140 * along + lean
    axis_z = axis_z - 3.5 * np.sin(np.pi * along * 1.6)
    half = 5.2 + 3.0 * np.clip(1 - (r - 14) / 26.0, 0, 1)
    slope = np.abs(np.gradient(axis_z, x))
    distance = (z[:, None] - axis_z[None, :]) / np.sqrt(1 + slope**2)[None, :]
    extra = _tube(distance.astype(np.float32), half[None, :], 10.0) * anatomy.bone
    fade = np.clip((r - 13) / 3, 0, 1) * np.clip((158 - r) / 4, 0, 1)
    extra = (extra * fade[None, :]).astype(np.float32)
    centre = np.broadcast_to(-48.0 + 30.0 * along, extra.shape).astype(np.float32)
    return [Bone(extra, (centre - 5, centre + 5))]


_BLADE = (
    (0, -12),
    (12, -22),
    (28, -8),
    (40, -2),
    (36, 12),
    (24, 45),
    (10, 100),
    (4, 118),
    (-4, 70),
)
"""Outline of a shoulder blade (r, z) in mm from its upper medial corner, seen from in front."""
_SPINE_OF_BLADE = ((-2, 12), (20, -2), (44, -16), (62, -14))


def _shoulder_blades(anatomy: Anatomy, z: Array, x: Array) -> Bone:
    """Shoulder blades, and the heads and shafts of the arm bones, drawn as thin plates."""
    plate: NDArray[np.uint8] = np.zeros((z.size, x.size), dtype=np.uint8)
    rim, shaft, head = plate.copy(), plate.copy(), plate.copy()
    step = float(x[1] - x[0])
    for side in (Side.RIGHT, Side.LEFT):
        sign = -1 if side is Side.RIGHT else 1

        def pixels(points: tuple[tuple[float, float], ...], sign: int = sign) -> NDArray[np.int32]:
            r = np.array([p[0] for p in points]) + anatomy.scapula_r
            level = np.array([p[1] for p in points]) + 22.0
            columns, rows = (sign * r - x[0]) / step, (level - z[0]) / step
            fixed = np.stack([columns, rows], axis=1) * (1 << _SUBPIXEL_BITS)
            return np.asarray(np.rint(fixed), dtype=np.int32)

        blade = pixels(_BLADE)
        thick = max(1, round(2.2 / step))
        cv2.fillPoly(plate, [blade], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(rim, [blade], True, 255, thick, cv2.LINE_AA, _SUBPIXEL_BITS)
        ridge = pixels(_SPINE_OF_BLADE)
        cv2.polylines(rim, [ridge], False, 200, 2 * thick, cv2.LINE_AA, _SUBPIXEL_BITS)
        arm = pixels(((62.0, 0.0), (72.0, 50.0), (80.0, 290.0)))
        centre = tuple(int(c) for c in arm[0])
        radius = int(22 / step * (1 << _SUBPIXEL_BITS))
        cv2.circle(head, centre, radius, 255, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(shaft, [arm], False, 255, max(1, round(20 / step)), cv2.LINE_AA, 4)
    total = 2.0 * plate + 3.0 * rim + 6.0 * head + 7.0 * shaft
    extra = cv2.GaussianBlur(total.astype(np.float32) / 255.0, (0, 0), 1.2 / step) * anatomy.bone
    cage = anatomy.right.half_depth * 0.8
    front = np.full(extra.shape, cage, dtype=np.float32)
    empty = extra < 1e-3
    return Bone(
        extra.astype(np.float32),
        (np.where(empty, FAR_MM, front), np.where(empty, -FAR_MM, front + np.float32(10))),
    )
