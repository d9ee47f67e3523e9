"""A lung of a real scan falls away from the chest wall and leaves pleural air behind.

The lung is drawn towards its hilum along straight lines, by a share that depends on direction: most
where the air lies, in front when supine, then everywhere as the collapse grows. The map is smooth,
so vessels come along, and its Jacobian is known: tissue is kept, air leaves, density rises. What
lies outside the lung's outline is not touched. The lung keeps the rounded outline of its convex
hull, for ribs and heart no longer press upon it. Free air of the supine patient lies in front and
above the diaphragm (Tocino et al., AJR 1985).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr

from pneumoseg.simulation.hemithorax import FAR_PX, RIM_PX, Hemithorax, clean_lung
from pneumoseg.simulation.scan_noise import FLOOR_HU, Array, ScanNoise
from pneumoseg.study import Side

LARGEST_DEGREE = 0.92
_MOST_DRAWN = 0.88
"""Largest share of the way to the hilum: a lung collapsed to a fist."""
_SMOOTHING_PX = 1.0
_DENSEST = 0.9
"""Tissue share of a lung without air, its vessels aside."""
_SMALLEST_AIR_VOXELS = 15
_CAP_EDGE = 0.06
"""Where less than this of the largest gap would open, the lung stays at the wall."""
_SOLVER_POINTS, _SOLVER_STEPS, _STRONGEST = 20000, 16, 1.6


@dataclass(frozen=True)
class CollapseShape:
    """Where and how far one lung falls.

    Attributes:
        side: of the patient.
        degree: share of the lung's volume (of its area in a single slice) to be lost.
        towards: where the air is thickest, seen from the hilum: (slices, rows, cols) as distances.
        focus: how narrow it is: 0 all around, 2 a broad cap, 20 a pocket.
        unevenness: three waves that keep the outline from being regular, each (frequencies over
            slices, rows, cols, phase).
        fluid_rows: share of the lung's height, from behind, that fluid fills; 0 none, 1 all.
        pleura_mm: thickness of the visceral pleura, which lines the lung where air borders it.
    """

    side: Side
    degree: float
    towards: tuple[float, float, float]
    focus: float
    unevenness: tuple[tuple[float, float, float, float], ...] = ()
    fluid_rows: float = 0.0
    pleura_mm: float = 0.2


@dataclass(frozen=True, eq=False)
class Collapsed:
    """A scan with one lung collapsed.

    Attributes:
        hu: float32, the whole scan.
        air: bool, pleural air: voxels of which it fills half or more.
        degree: share of the lung lost, as reached.
    """

    hu: Array
    air: NDArray[np.bool_]
    degree: float


def collapse(
    hu: Array, chest: Hemithorax, shape: CollapseShape, noise: ScanNoise, rng: np.random.Generator
) -> Collapsed:
    """Let one lung fall.

    Args:
        hu: float32 (slices, rows, cols), the scan that ``chest`` was measured in.
        chest: from :func:`open_hemithorax`.
        shape: where and how far.
        noise: the scan's own, for the air.
        rng: draws the noise.
    """
    part = hu[chest.box]
    strength = _solve(chest, shape)
    points = _points(chest)
    draw = _drawn(points, chest, shape, strength)
    stretch = np.asarray(1 / (1 - draw), dtype=np.float32)
    sources = [
        (anchor + (axis - anchor) * stretch) / step
        for axis, anchor, step in zip(points, chest.hilum_mm, chest.spacing_mm, strict=True)
    ]
    depth_mm = np.asarray(_depth_in_hull(chest, sources) / stretch, dtype=np.float32)
    lung_share = ndtr(depth_mm / (noise.psf_px * chest.spacing_mm[2])).astype(np.float32)
    tissue = _sample(clean_lung(part, chest), sources)
    tissue = _denser(tissue, stretch**3, _tissue_share(part, chest))
    pleura = _pleura(depth_mm, shape.pleura_mm, noise.psf_px * chest.spacing_mm[2])
    grain = noise.draw(part.shape, rng)
    gap_hu, fluid = _filling(chest, shape, noise)
    free = (1 - lung_share) * (gap_hu + grain) + lung_share * tissue + pleura
    wall = chest.wall_share
    filled = wall * (chest.wall_hu + grain) + (1 - wall) * free
    # Where the lung has not moved, the scan stays as it was.
    moved_mm = np.sqrt(
        sum(
            ((source - index) * step) ** 2
            for source, index, step in zip(
                sources, _indices(part.shape), chest.spacing_mm, strict=True
            )
        )
    )
    weight = np.clip(moved_mm / (0.5 * chest.spacing_mm[2]), 0, 1) * np.clip(chest.reach + 2, 0, 1)
    result = hu.copy()
    result[chest.box] = part + weight * (np.maximum(filled, FLOOR_HU) - part)
    share = (1 - lung_share) * (1 - wall) * (1 - fluid)
    air = np.zeros(hu.shape, dtype=np.bool_)
    air[chest.box] = _without_specks((share >= 0.5) & (chest.reach > -1))
    lost = float((depth_mm[chest.inside] < 0).mean())
    return Collapsed(result, air, lost)


def breathe(hu: Array, chest: Hemithorax, shape: CollapseShape, strength: float) -> Array:
    """Move the inside of a lung and leave its wall in place: the same resampling, but no gap.

    Args:
        hu: float32 (slices, rows, cols).
        chest: from :func:`open_hemithorax`.
        shape: where it is drawn to; its degree is not used.
        strength: 0 to 0.15, share of the way to the hilum.
    """
    part = hu[chest.box]
    points = _points(chest)
    fade = np.clip(chest.reach * chest.spacing_mm[2] / 40.0, 0, 1)
    draw = np.minimum(_drawn(points, chest, shape, strength), 0.15) * fade**2 * (3 - 2 * fade)
    stretch = np.asarray(1 / (1 - draw), dtype=np.float32)
    sources = [
        (anchor + (axis - anchor) * stretch) / step
        for axis, anchor, step in zip(points, chest.hilum_mm, chest.spacing_mm, strict=True)
    ]
    tissue = _sample(clean_lung(part, chest), sources)
    tissue = _denser(tissue, stretch**3, _tissue_share(part, chest))
    weight = np.clip((chest.reach - RIM_PX) / 2, 0, 1)
    result = hu.copy()
    result[chest.box] = part + weight * (tissue - part)
    return result


def _solve(chest: Hemithorax, shape: CollapseShape) -> float:
    """Strength at which the lung has lost the wanted share."""
    places = np.argwhere(chest.inside)
    step = max(1, places.shape[0] // _SOLVER_POINTS)
    chosen = places[::step].T.astype(np.float32)
    points = [index * mm for index, mm in zip(chosen, chest.spacing_mm, strict=True)]
    low, high = 0.0, _STRONGEST
    for _ in range(_SOLVER_STEPS):
        middle = (low + high) / 2
        stretch = 1 / (1 - _drawn(points, chest, shape, middle))
        sources = [
            (anchor + (axis - anchor) * stretch) / mm
            for axis, anchor, mm in zip(points, chest.hilum_mm, chest.spacing_mm, strict=True)
        ]
        if float((_depth_in_hull(chest, sources) < 0).mean()) < shape.degree:
            low = middle
        else:
            high = middle
    return high


def _depth_in_hull(chest: Hemithorax, places: list[Array]) -> Array:
    """Distance to the outline of the hull in mm at fractional places, positive inside.

    Beyond the lung's last slice the hull tapers to a point within one slice more.
    """
    above, hull, below = chest.hull[:1], chest.hull, chest.hull[-1:]
    capped = np.concatenate([above - above.max(), hull, below - below.max()])
    shifted = [places[0] + 1, places[1], places[2]]
    if hull.shape[0] == 1:
        shifted[0] = np.ones_like(places[0])
    sampled = ndimage.map_coordinates(capped, np.stack(shifted), order=1, cval=-FAR_PX)
    return np.asarray(sampled, dtype=np.float32)


def _drawn(points: list[Array], chest: Hemithorax, shape: CollapseShape, strength: float) -> Array:
    """Share of the way to the hilum that each place has been drawn, in [0, 0.88].

    It depends on the direction from the hilum alone; that makes the Jacobian of the map the cube of
    its stretch.
    """
    away = [axis - anchor for axis, anchor in zip(points, chest.hilum_mm, strict=True)]
    length = np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2) + np.float32(1e-3)
    unit = [axis / length for axis in away]
    towards = np.asarray(shape.towards, dtype=np.float32)
    towards = towards / np.linalg.norm(towards)
    cosine = sum(u * t for u, t in zip(unit, towards, strict=True))
    cap = np.exp(np.float32(shape.focus) * (cosine - 1))
    cap = np.maximum(cap - _CAP_EDGE, 0) / (1 - _CAP_EDGE)
    for *frequency, phase in shape.unevenness:
        wave = sum(u * np.float32(f) for u, f in zip(unit, frequency, strict=True))
        cap = cap * (1 + np.float32(0.15) * np.sin(wave + np.float32(phase)))
    onset = float(np.clip((strength - 0.4) / (_STRONGEST - 0.4), 0, 1))
    everywhere = _MOST_DRAWN * onset**2 * (3 - 2 * onset)
    drawn = np.minimum(0.75 * strength * cap, _MOST_DRAWN)
    return np.asarray(drawn + (_MOST_DRAWN - drawn) * everywhere / _MOST_DRAWN, dtype=np.float32)


def _denser(tissue_hu: Array, compression: Array, share: float) -> Array:
    """Raise the density of lung whose volume fell by ``compression``: tissue stays, air leaves.

    A voxel of tissue share t keeps t and holds its air in less room; the mean tissue share of this
    lung, ``share``, grows exactly by the compression, until there is no air left.
    """
    # The scanner's noise is not compressed with the lung: only what is coarser than it.
    smooth = np.stack([cv2.GaussianBlur(part, (0, 0), _SMOOTHING_PX) for part in tissue_hu])
    volume = np.maximum(1 / compression, share / _DENSEST)
    air_left = (volume - share) / (1 - share)
    tissue = np.maximum(smooth / 1000 + 1, 0)
    air = np.maximum(1 - tissue, 0) * np.maximum(air_left, 1e-3)
    denser = np.where(tissue < 1, tissue / (tissue + air + 1e-6), tissue)
    return np.asarray((denser - 1) * 1000 + tissue_hu - smooth, dtype=np.float32)


def _tissue_share(part: Array, chest: Hemithorax) -> float:
    """Mean tissue share of a lung in health."""
    lung = part[chest.inside & (chest.reach > RIM_PX)]
    if not lung.size:
        return 0.15
    return float(np.clip(np.mean(lung) / 1000 + 1, 0.05, 0.6))


def _filling(
    chest: Hemithorax, shape: CollapseShape, noise: ScanNoise
) -> tuple[Array | float, Array | float]:
    """HU of what fills the gap, and the share of it that is fluid, by row."""
    if shape.fluid_rows <= 0:
        return noise.air_hu, 0.0
    rows = np.flatnonzero(chest.inside.any(axis=(0, 2)))
    level = rows[-1] - shape.fluid_rows * (rows[-1] - rows[0])
    if shape.fluid_rows >= 1:
        level = -10.0 * chest.inside.shape[1]
    row = np.arange(chest.inside.shape[1], dtype=np.float32)[None, :, None]
    fluid = np.broadcast_to(
        ndtr((row - level) / noise.psf_px).astype(np.float32), chest.inside.shape
    )
    return np.asarray(noise.air_hu + fluid * (12 - noise.air_hu), dtype=np.float32), fluid


def _pleura(depth_mm: Array, thickness_mm: float, blur_mm: float) -> Array:
    """HU that the visceral pleura adds, a sheet thinner than the blur."""
    bell = np.exp(-0.5 * (depth_mm / blur_mm) ** 2) / (blur_mm * np.sqrt(2 * np.pi))
    return np.asarray(1030 * thickness_mm * bell, dtype=np.float32)


def _indices(shape: tuple[int, ...]) -> list[Array]:
    return [axis.astype(np.float32) for axis in np.meshgrid(*map(np.arange, shape), indexing="ij")]


def _points(chest: Hemithorax) -> list[Array]:
    """Place of every voxel of the box in mm."""
    grid = _indices(chest.inside.shape)
    return [index * np.float32(mm) for index, mm in zip(grid, chest.spacing_mm, strict=True)]


def _sample(values: Array, places: list[Array]) -> Array:
    """Values at fractional places (slice, row, col), cubic, the border's beyond the array."""
    if values.shape[0] == 1:  # a single slice is sampled within itself
        across, down = places[2][0], places[1][0]
        flat = cv2.remap(values[0], across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(flat[None], dtype=np.float32)
    sampled = ndimage.map_coordinates(values, np.stack(places), order=3, mode="nearest")
    return np.asarray(sampled, dtype=np.float32)


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(mask)
    keep = np.bincount(parts.ravel()) >= _SMALLEST_AIR_VOXELS
    keep[0] = False
    return np.asarray(keep[parts], dtype=np.bool_)
