"""Air that is not in the pleural space: what a network must not take for pneumothorax.

Each function draws one finding into a scan and returns the new scan, or None where the scan has no
room for it. Those in the lung are drawn before it collapses, the others after; with and without
pneumothorax alike, so that none of them tells.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pneumoseg.simulation.scan_noise import Array
from pneumoseg.simulation.scene import (
    Scene,
    between_lungs,
    blobs,
    depth_px,
    ellipsoid,
    outline,
    patient,
    redrawn,
    slices_spanned,
    smoothed,
    softened,
    with_air,
)

EMPHYSEMA, BULLAE = "emphysema", "bullae"
OESOPHAGEAL_AIR, AIRWAY, BOWEL_GAS = "oesophageal air", "airway", "bowel gas"
SUBCUTANEOUS_AIR, MEDIASTINAL_AIR = "subcutaneous air", "mediastinal air"

_EMPHYSEMA_HU = -965.0
"""Below -950 HU a lung voxel counts as emphysema (Gevenois et al., AJRCCM 1996)."""
_VESSEL_HU = -650.0
_BULLA_WALL_MM = 0.7
"""A bulla's wall is below 1 mm (Fleischner Society glossary, Radiology 2008)."""
_WALL_HU = 40.0
_SOFT_HU = (-140.0, 250.0)
_TRIES = 40


def emphysema(scene: Scene, rng: np.random.Generator) -> Array | None:
    """Patches of destroyed lung, larger and denser in one part than in another."""
    size_px = rng.uniform(1.5, 5.0) / scene.pixel_mm
    fine = blobs(scene.hu.shape, size_px, rng, slices_spanned(scene, size_px))
    wide = blobs(scene.hu.shape, 25.0 / scene.pixel_mm, rng, slices_spanned(scene, 35.0))
    share = ndtr((fine + 0.8 * wide - rng.uniform(0.6, 1.8)) * 2.5).astype(np.float32)
    lung = smoothed(scene.hu, 0.8) < _VESSEL_HU
    share = share * (depth_px(scene.lungs > 0) > 1.5) * softened(lung)
    return with_air(scene, share * np.float32(rng.uniform(0.6, 1.0)), rng, _EMPHYSEMA_HU)


def bullae(scene: Scene, rng: np.random.Generator) -> Array | None:
    """One to six thin-walled cysts of air in the lung against the pleura."""
    reach = depth_px(scene.lungs > 0) * scene.pixel_mm
    near = np.argwhere((reach > 2) & (reach < 14))
    if near.shape[0] < 200:
        return None
    first = near[rng.integers(near.shape[0])] * np.asarray(scene.spacing_mm)
    count, size = int(rng.integers(1, 7)), float(rng.uniform(6, 26))
    depths = []
    for _ in range(count):
        centre = first + rng.normal(0, size * 0.8, 3)
        radii = size * rng.uniform(0.4, 1.1, 3)
        depths.append(ellipsoid(scene, centre, radii))
    ordered = np.sort(np.stack(depths), axis=0)[::-1]
    depth = ordered[0]
    # Where two cysts meet, a septum stands halfway between them.
    wall = np.abs(depth)
    if count > 1:
        wall = np.where(depth > 0, np.minimum(wall, (depth - ordered[1]) / 2), wall)
    inside = ndtr(np.minimum(depth, reach - 1.0) / scene.blur_mm)
    if float(inside.sum()) < 60:
        return None
    shine = np.exp(-0.5 * (wall / scene.blur_mm) ** 2) / (scene.blur_mm * np.sqrt(2 * np.pi))
    shine = 1000 * _BULLA_WALL_MM * shine * (reach > 1.0)
    return np.asarray(with_air(scene, inside, rng, scene.noise.air_hu) + shine, dtype=np.float32)


def oesophageal_air(scene: Scene, rng: np.random.Generator) -> Array | None:
    """A bubble in the oesophagus: between the lungs, before the spine."""
    radii = np.array([rng.uniform(15, 80), *rng.uniform(1.5, 6.0, 2)])
    return _mediastinal_hole(scene, rng, radii, (0.5, 0.72))


def airway(scene: Scene, rng: np.random.Generator) -> Array | None:
    """A trachea, main bronchus or neo-oesophagus, wide and round, between the lungs."""
    radii = np.array([rng.uniform(30, 90), *rng.uniform(5.0, 11.0, 2)])
    return _mediastinal_hole(scene, rng, radii, (0.25, 0.6))


def bowel_gas(scene: Scene, rng: np.random.Generator) -> Array | None:
    """Gas in stomach or colon under the diaphragm, with wall, folds and sometimes a fluid level."""
    body = patient(scene.hu)
    tissue = body & (scene.lungs == 0)
    used = np.flatnonzero(tissue.any(axis=(1, 2)))
    if not used.size:
        return None
    low = used[int(0.5 * (used.size - 1)) :]
    level = int(rng.choice(low))
    smooth = smoothed(scene.hu[level][None], 2.0)[0]
    boneless = tissue[level] & (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
    room = depth_px(boneless[None])[0] * scene.pixel_mm
    wanted = float(rng.uniform(9, 22))
    within = outline(np.max(scene.lungs[max(0, level - 12) : level + 1], axis=0) > 0)
    places = np.argwhere((room > wanted) & within)
    if not places.size:
        return None
    row, column = places[rng.integers(places.shape[0])]
    centre = np.array([level, row, column]) * np.asarray(scene.spacing_mm)
    radii = wanted * rng.uniform((0.8, 0.7, 0.8), (1.6, 1.1, 1.6))
    depth = ellipsoid(scene, centre, radii)
    depth = depth + blobs(scene.hu.shape, 9 / scene.pixel_mm, rng, slices_spanned(scene, 9)) * 2.5
    depth = np.minimum(depth, depth_px(tissue) * scene.pixel_mm - 2.5)
    share = ndtr(depth / scene.blur_mm)
    wall = np.clip(1 - np.abs(depth + 1.5) / 1.5, 0, 1)
    hu = scene.hu + wall * (_WALL_HU - scene.hu) * np.clip(tissue, 0, 1)
    result = with_air(redrawn(scene, hu), share, rng, scene.noise.air_hu)
    if rng.random() < 0.4:  # what the patient drank lies behind the gas
        rows = np.arange(hu.shape[1], dtype=np.float32)[None, :, None]
        fluid = ndtr((rows - row - rng.uniform(-0.2, 0.6) * wanted) / scene.noise.psf_px) * share
        result = result + fluid * (15 - scene.noise.air_hu)
    return np.asarray(result, dtype=np.float32)


def subcutaneous_air(scene: Scene, rng: np.random.Generator) -> Array | None:
    """Streaks of air between the layers of the chest wall, on one side or around."""
    body = patient(scene.hu)
    covered = np.stack([outline(part > 0) for part in scene.lungs])
    beyond = -depth_px(covered) * scene.pixel_mm
    skin = depth_px(body) * scene.pixel_mm
    wall = (beyond > 4) & (skin > 2.5) & (beyond < rng.uniform(20, 60))
    smooth = smoothed(scene.hu, 1.5)
    soft = (smooth > -160) & (smooth < 130)
    rows, columns = np.meshgrid(
        np.linspace(-1, 1, scene.hu.shape[1]), np.linspace(-1, 1, scene.hu.shape[2]), indexing="ij"
    )
    towards, spread = rng.uniform(-np.pi, 0.3 * np.pi), rng.uniform(0.3, 1.2)
    angle = np.angle(np.exp(1j * (np.arctan2(rows, columns) - towards)))
    sector = np.exp(-0.5 * (angle / spread) ** 2)[None]
    # Layers follow the ribs: noise that varies fast across them and slowly along.
    layer = np.sin(beyond * 2 * np.pi / rng.uniform(4, 9) + blobs(scene.hu.shape, 12, rng) * 2.5)
    patchy = blobs(scene.hu.shape, 5 / scene.pixel_mm, rng)
    signal = 0.8 * layer + patchy + 2.0 * (sector - 1) - rng.uniform(0.2, 1.0)
    share = ndtr(signal * 3) * softened(wall & soft)
    if float(share.sum()) < 30:
        return None
    return with_air(scene, share.astype(np.float32), rng, scene.noise.air_hu)


def mediastinal_air(scene: Scene, rng: np.random.Generator) -> Array | None:
    """Pneumomediastinum: streaks that follow the outer side of the mediastinal pleura."""
    middle = between_lungs(scene)
    reach = -depth_px(scene.lungs > 0) * scene.pixel_mm
    thickness = rng.uniform(1.0, 4.5) * (
        0.5 + blobs(scene.hu.shape, 14 / scene.pixel_mm, rng, slices_spanned(scene, 14))
    )
    sheet = np.minimum(reach - 1.0, 1.0 + thickness - reach)
    fat = ndtr((blobs(scene.hu.shape, 3.5 / scene.pixel_mm, rng) - rng.uniform(0.6, 1.6)) * 4)
    smooth = smoothed(scene.hu, 1.5)
    fat = fat * softened((smooth > -150) & (smooth < -30))
    share = np.maximum(ndtr(sheet / scene.blur_mm), fat) * softened(middle & (smooth > -200))
    if float(share.sum()) < 30:
        return None
    return with_air(scene, share.astype(np.float32), rng, scene.noise.air_hu)


Painter = Callable[[Scene, np.random.Generator], Array | None]
"""Draws one finding; None where there is no room."""
IN_THE_LUNG: dict[str, Painter] = {
    EMPHYSEMA: emphysema,
    BULLAE: bullae,
}
"""Drawn before a lung collapses."""
OUTSIDE_THE_LUNG: dict[str, Painter] = {
    OESOPHAGEAL_AIR: oesophageal_air,
    AIRWAY: airway,
    BOWEL_GAS: bowel_gas,
    SUBCUTANEOUS_AIR: subcutaneous_air,
    MEDIASTINAL_AIR: mediastinal_air,
}
"""Drawn after."""


def _mediastinal_hole(
    scene: Scene, rng: np.random.Generator, radii: NDArray[np.float64], heights: tuple[float, float]
) -> Array | None:
    """A tube of air with a wall between the lungs, at a height given as share of theirs."""
    used = np.flatnonzero((scene.lungs > 0).any(axis=(1, 2)))
    for _ in range(_TRIES):
        level = int(rng.choice(used)) if used.size else 0
        rows = np.flatnonzero((scene.lungs[level] > 0).any(axis=1))
        if rows.size < 20:
            continue
        row = int(rows[0] + rng.uniform(*heights) * (rows[-1] - rows[0]))
        right = np.flatnonzero(scene.lungs[level, row] == 1)
        left = np.flatnonzero(scene.lungs[level, row] == 2)
        if not right.size or not left.size or left[0] - right[-1] < 3:
            continue
        column = int(rng.uniform(right[-1], left[0]))
        reach = int(np.ceil((radii[1:].max() + 2) / scene.pixel_mm))
        around = (
            slice(max(0, row - reach), row + reach + 1),
            slice(max(0, column - reach), column + reach + 1),
        )
        smooth = cv2.GaussianBlur(scene.hu[level][around], (0, 0), 1.5)
        if (scene.lungs[level][around] > 0).any() or not (
            (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
        ).all():
            continue
        centre = np.array([level, row, column]) * np.asarray(scene.spacing_mm)
        depth = np.minimum(
            ellipsoid(scene, centre, radii), -depth_px(scene.lungs > 0) * scene.pixel_mm - 1.5
        )
        wall = np.clip(1 - np.abs(depth + 1.0), 0, 1)
        hu = scene.hu + wall * (_WALL_HU - scene.hu)
        return with_air(redrawn(scene, hu), ndtr(depth / scene.blur_mm), rng, scene.noise.air_hu)
    return None
