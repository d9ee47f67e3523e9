"""A scan to draw into, and the brushes: air with the scan's noise, blobs, distances, outlines."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pneumoseg.simulation.lung_sides import Labels
from pneumoseg.simulation.scan_noise import FLOOR_HU, Array, ScanNoise


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan and what is needed to draw into it.

    Attributes:
        hu: float32 (slices, rows, cols).
        lungs: uint8, same shape: 1 right, 2 left; the pleural cavities, air included.
        noise: the scan's own.
        spacing_mm: between slices, rows, columns.
    """

    hu: Array
    lungs: Labels
    noise: ScanNoise
    spacing_mm: tuple[float, float, float]

    @property
    def pixel_mm(self) -> float:
        """Spacing within a slice."""
        return self.spacing_mm[2]

    @property
    def blur_mm(self) -> float:
        """Blur of edges within a slice."""
        return self.noise.psf_px * self.pixel_mm


def with_air(scene: Scene, share: Array, rng: np.random.Generator, hu: float) -> Array:
    """The scan with a share of each voxel turned to air and given the scan's noise."""
    found = ndimage.find_objects(share > 1e-3, 1)
    if not found or found[0] is None:
        return scene.hu.copy()
    box = found[0]
    part, weight = scene.hu[box], share[box].astype(np.float32)
    air = np.float32(hu) + scene.noise.draw(part.shape, rng)
    result = scene.hu.copy()
    result[box] = np.maximum(part + weight * (air - part), FLOOR_HU)
    return result


def redrawn(scene: Scene, hu: Array) -> Scene:
    """The scene with another scan of the same chest."""
    return Scene(hu.astype(np.float32), scene.lungs, scene.noise, scene.spacing_mm)


def ellipsoid(scene: Scene, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> Array:
    """Rough distance into an ellipsoid in mm, positive inside; all lengths in mm."""
    lines = [
        (np.arange(size, dtype=np.float32) * mm - c) / r
        for size, mm, c, r in zip(scene.hu.shape, scene.spacing_mm, centre, radii, strict=True)
    ]
    away = np.sqrt(
        lines[0][:, None, None] ** 2 + lines[1][None, :, None] ** 2 + lines[2][None, None, :] ** 2
    )
    return np.asarray((1 - away) * float(radii[1:].min()), dtype=np.float32)


def slices_spanned(scene: Scene, size_mm: float) -> float:
    """How many slices a thing of this size spans, as the blur of :func:`blobs`."""
    return size_mm / scene.spacing_mm[0] / 2


def blobs(
    shape: tuple[int, ...], size_px: float, rng: np.random.Generator, size_slices: float = 0.5
) -> Array:
    """Smooth noise of mean 0 and deviation 1 with blobs of a given size within a slice."""
    step = max(1.0, size_px / 2.0)
    small = (shape[0], int(shape[1] / step) + 2, int(shape[2] / step) + 2)
    noise = ndimage.gaussian_filter(
        rng.standard_normal(small, dtype=np.float32),
        (min(size_slices, 8.0) if shape[0] > 1 else 0.0, size_px / step, size_px / step),
    )
    noise = noise / max(float(noise.std()), 1e-6)
    return np.stack([cv2.resize(part, shape[:0:-1]) for part in noise])


def depth_px(mask: NDArray[np.bool_]) -> Array:
    """Distance within each slice to the edge of a mask in pixels, positive inside."""
    result = np.empty(mask.shape, dtype=np.float32)
    for index, part in enumerate(mask):
        flags = part.astype(np.uint8)
        inside = cv2.distanceTransform(flags, cv2.DIST_L2, 3)
        outside = cv2.distanceTransform(1 - flags, cv2.DIST_L2, 3)
        result[index] = np.clip(np.where(part, inside - 0.5, 0.5 - outside), -400, 400)
    return result


def smoothed(hu: Array, sigma_px: float) -> Array:
    """Slices without most of their noise, to tell tissues apart."""
    return np.stack([cv2.GaussianBlur(part, (0, 0), sigma_px) for part in hu])


def softened(mask: NDArray[np.bool_]) -> Array:
    """A mask with edges as soft as one pixel."""
    return np.stack([cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.7) for part in mask])


def patient(hu: Array) -> NDArray[np.bool_]:
    """The patient without table and clothes: the largest piece of tissue of each slice, filled."""
    result = np.zeros(hu.shape, dtype=np.bool_)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    for index, part in enumerate(hu):
        tissue = (cv2.GaussianBlur(part, (0, 0), 1.5) > -350).astype(np.uint8)
        opened = cv2.morphologyEx(tissue, cv2.MORPH_OPEN, disc)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
        if stats.shape[0] > 1:
            largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
            result[index] = ndimage.binary_fill_holes(labels == largest)
    return result


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The convex outline of both lungs with what lies between them."""
    places = np.argwhere(mask)
    if places.shape[0] < 3:
        return mask
    filled = mask.astype(np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(places[:, ::-1].astype(np.int32)), 1)
    return np.asarray(filled > 0, dtype=np.bool_)


def between_lungs(scene: Scene) -> NDArray[np.bool_]:
    """Columns from lung to lung, row by row: the mediastinum."""
    lungs = scene.lungs
    from_right = np.maximum.accumulate(lungs == 1, axis=2)
    to_left = np.maximum.accumulate((lungs == 2)[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray(from_right & to_left & (lungs == 0), dtype=np.bool_)
