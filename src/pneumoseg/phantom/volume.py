"""CT of a phantom body: the depth intervals sampled at voxel centres, with exact masks.

The arms are left out, as patients raise them for a CT. The visceral pleura, a third of a
millimetre, is thinner than a voxel and left out too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.body import FAT_WATER, SOFT_WATER, VESSEL_WATER, Body
from pneumoseg.phantom.intervals import Array, Interval, intersect, length
from pneumoseg.phantom.skeleton import Bone
from pneumoseg.phantom.vessels import VesselPoints
from pneumoseg.study import Image, Mask, Modality, Side, Source, Units

AIR_HU = np.float32(-1000)
SPACING_MM = (2.5, 1.5, 1.5)
"""Default voxel size: slice thickness of a common chest protocol, pixels coarser for speed."""
_VESSEL_COPIES = 16
"""Points that stand for each sample of a vessel, spread over its width."""


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT volume and its exact masks, all (slices, rows, cols).

    Slice 0 is the head end; rows run from anterior to posterior, columns from the patient's right
    to left (LPS with descending slices).

    Attributes:
        hu: float32, Hounsfield units.
        pleural_air: bool, air between lung and chest wall.
        right_lung: bool, aerated lung with its vessels.
        left_lung: bool, as ``right_lung``.
        spacing_mm: between slices, rows and columns.
        origin_mm: z, y, x of the first voxel's centre in the coordinates of the body.
    """

    hu: Array
    pleural_air: NDArray[np.bool_]
    right_lung: NDArray[np.bool_]
    left_lung: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def image(self, image_id: str) -> Image:
        """The volume as a CT image in HU."""
        return Image(
            self.hu, Units.HU, self.spacing_mm, Source(image_id=image_id, modality=Modality.CT)
        )

    def mask(self) -> Mask:
        """The pleural air as a mask."""
        return Mask(self.pleural_air, self.spacing_mm)


def make_ct(
    body: Body,
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    noise_hu: float = 10.0,
) -> CtVolume:
    """Scan a body.

    Args:
        body: from :func:`pneumoseg.phantom.body.make_body`.
        spacing_mm: between slices, rows and columns.
        noise_hu: standard deviation of the noise; drawn from the body's seed.

    Raises:
        ValueError: a spacing that is not positive.
    """
    if min(spacing_mm) <= 0:
        raise ValueError(f"spacings must be positive millimetres, not {spacing_mm}")
    z, y, x = (
        np.arange(low, high, step, dtype=np.float32)
        for (low, high), step in zip(body.extent_mm, spacing_mm, strict=True)
    )
    hu = _soft_tissue(body, z, y, x)
    air = np.zeros(hu.shape, dtype=np.bool_)
    lungs = {}
    for side in Side:
        lungs[side], gap = _fill_side(body, side, hu, (z, y, x))
        air |= gap
    hu[_inside(body.airway(z, x), y) & (hu > AIR_HU)] = AIR_HU
    trunk, _, _ = body.torso(z, x)
    for bone in body.bones(z, x):
        _add_bone(hu, bone, trunk, y)
    if noise_hu > 0:
        rng = np.random.default_rng([body.seed, 4])
        hu += rng.standard_normal(hu.shape, dtype=np.float32) * np.float32(noise_hu)
    origin = (float(z[0]), float(y[0]), float(x[0]))
    return CtVolume(hu, air, lungs[Side.RIGHT], lungs[Side.LEFT], spacing_mm, origin)


def _inside(interval: Interval, y: Array) -> NDArray[np.bool_]:
    """Voxels (n, k, m) whose centre depth y (k,) lies within an interval over (n, m)."""
    depth = y[None, :, None]
    return np.asarray((depth > interval[0][:, None]) & (depth < interval[1][:, None]))


def _soft_tissue(body: Body, z: Array, y: Array, x: Array) -> Array:
    """Trunk of soft tissue under a layer of fat, with the stomach's gas, in air."""
    trunk, _, fat = body.torso(z, x)
    hu = np.full((z.size, y.size, x.size), AIR_HU, dtype=np.float32)
    hu[_inside(trunk, y)] = (FAT_WATER - 1) * 1000
    back_fat = np.float32(0.3 * body.anatomy.wall)
    hu[_inside((trunk[0] + fat, trunk[1] - back_fat), y)] = (SOFT_WATER - 1) * 1000
    if body.anatomy.stomach is not None:
        hu[_inside(body.anatomy.stomach.interval(z, x), y)] = AIR_HU
    return hu


def _fill_side(
    body: Body, side: Side, hu: Array, grid: tuple[Array, Array, Array]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Write lung and pleural air of one side into ``hu``; returns both masks."""
    z, y, x = grid
    sides = body.side(side, z, x)
    heart = _inside(sides.heart, y)
    free = _inside(sides.cavity, y) & ~_inside(sides.dome, y) & ~heart
    lung = free & _inside(sides.lung, y) & ~_inside(sides.lung_dome, y)
    density = body.lung_water(side, z, x)
    aerated = np.broadcast_to(((density - 1) * 1000)[:, None, :], hu.shape)
    np.copyto(hu, aerated, where=lung)
    vessels = _vessel_share(body.vessels[side], grid)
    filled = (VESSEL_WATER - 1) * 1000 - hu
    hu += np.where(lung, vessels * filled, 0)
    for owner, bulla in body.anatomy.bullae:
        if owner is side:
            hu[_inside(bulla.interval(z, x), y) & lung] = AIR_HU
    gap = free & ~lung
    hu[gap] = AIR_HU
    return lung, gap


def _vessel_share(points: VesselPoints, grid: tuple[Array, Array, Array]) -> Array:
    """Share of each voxel that vessels fill, float32 (n, k, m) in [0, 1]."""
    rng = np.random.default_rng(points.radius.size)
    shape = tuple(axis.size for axis in grid)
    voxel = 1.0
    spread = rng.uniform(-1, 1, (_VESSEL_COPIES, points.radius.size, 3)).astype(np.float32)
    positions = points.zyx[None] + 0.8 * points.radius[None, :, None] * spread
    indices = []
    inside = np.ones(positions.shape[:2], dtype=np.bool_)
    for axis, line in enumerate(grid):
        step = float(line[1] - line[0])
        voxel *= step
        index = np.rint((positions[..., axis] - line[0]) / step).astype(np.int64)
        inside &= (index >= 0) & (index < line.size)
        indices.append(index)
    flat = (indices[0] * shape[1] + indices[1]) * shape[2] + indices[2]
    weights = np.broadcast_to(points.volume[None] / (_VESSEL_COPIES * voxel), inside.shape)
    count = int(np.prod(shape))
    total = np.bincount(flat[inside], weights[inside], minlength=count)
    return np.minimum(total, 1.0).reshape(shape).astype(np.float32)


def _add_bone(hu: Array, bone: Bone, trunk: Interval, y: Array) -> None:
    """Spread a bone's extra water over its depth interval, shared by voxels it covers in part.

    What lies outside the trunk belongs to the arms and is left out.
    """
    step = float(y[1] - y[0])
    columns = np.flatnonzero((bone.extra > 1e-3).any(axis=0))
    if not columns.size:
        return
    chosen = slice(int(columns[0]), int(columns[-1]) + 1)
    front, back = (side[:, None, chosen] for side in intersect(bone.depth, trunk))
    thickness = length(bone.depth)[:, None, chosen]
    low, high = y[None, :, None] - step / 2, y[None, :, None] + step / 2
    covered = np.maximum(np.minimum(back, high) - np.maximum(front, low), 0) / step
    density = bone.extra[:, None, chosen] / np.maximum(thickness, 1e-3)
    hu[:, :, chosen] += (1000 * density * covered).astype(np.float32)
