"""Augmentation of film and mask: one fused affine map plus one lookup table, on the uint8 grid.

Flip is left-right only: a chest X-ray upside down does not exist, one of situs inversus does. An
axial CT slice of a patient lying prone is one upside down, so recipes for CT may ask for both.
Contrast and brightness are then what another window centre and width do.
Re-compression as JPEG is part of it on purpose: positives and negatives of the public data went
through different numbers of JPEG passes, and a classifier must not be able to read that history.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.preprocess import GRID_SIZE


@dataclass(frozen=True)
class AugmentSettings:
    """How far a film may be changed; every range is symmetric around «unchanged»."""

    flip: float = 0.5
    """Probability of a left-right flip."""
    flip_vertical: float = 0.0
    """Probability of an anterior-posterior flip; for axial CT slices alone."""
    rotate_degrees: float = 10.0
    """Largest rotation either way."""
    scale: float = 0.12
    """Largest relative change of size."""
    shift: float = 0.06
    """Largest shift along each axis, as a share of the film."""
    contrast: float = 0.25
    """Largest relative change of contrast around mid-grey."""
    brightness: float = 0.12
    """Largest shift of brightness, as a share of the full range."""
    gamma: float = 0.3
    """Largest natural logarithm of the gamma exponent."""
    noise: float = 0.02
    """Largest standard deviation of Gaussian noise, as a share of the full range."""
    blur: float = 0.2
    """Probability of a slight Gaussian blur."""
    recompress: float = 0.5
    """Probability of one more JPEG pass, quality 50 to 95."""


def augment(
    film: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Change a film and its mask together.

    Args:
        film: uint8 (512, 512).
        mask: uint8 0/1 (512, 512), or None when only the film is wanted.
        settings: the ranges.
        rng: the only source of randomness.

    Returns:
        New arrays of the same shapes and dtypes; the inputs stay as they are.
    """
    affine = _draw_affine(settings, rng)
    moved = cv2.warpAffine(film, affine, (GRID_SIZE, GRID_SIZE), flags=cv2.INTER_LINEAR)
    moved_mask = None
    if mask is not None:
        soft = cv2.warpAffine(mask * np.uint8(255), affine, (GRID_SIZE, GRID_SIZE))
        moved_mask = (soft >= 128).astype(np.uint8)
    toned = cv2.LUT(moved, _draw_table(settings, rng))
    return _degrade(np.asarray(toned, dtype=np.uint8), settings, rng), moved_mask


def _draw_affine(settings: AugmentSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Flip, rotation, scale and shift as one (2, 3) map about the centre of the grid."""
    centre = (GRID_SIZE - 1) / 2
    angle = rng.uniform(-settings.rotate_degrees, settings.rotate_degrees)
    scale = 1 + rng.uniform(-settings.scale, settings.scale)
    affine = np.asarray(cv2.getRotationMatrix2D((centre, centre), angle, scale), np.float64)
    affine[:, 2] += rng.uniform(-settings.shift, settings.shift, size=2) * GRID_SIZE
    if rng.random() < settings.flip:
        flip = np.array([[-1.0, 0.0, GRID_SIZE - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        affine = affine @ flip
    if settings.flip_vertical > 0 and rng.random() < settings.flip_vertical:
        flip = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, GRID_SIZE - 1.0], [0.0, 0.0, 1.0]])
        affine = affine @ flip
    return affine


def _draw_table(settings: AugmentSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Gamma, contrast and brightness as one lookup table of 256 entries."""
    level = np.arange(256) / 255.0
    level = level ** np.exp(rng.uniform(-settings.gamma, settings.gamma))
    level = (level - 0.5) * (1 + rng.uniform(-settings.contrast, settings.contrast)) + 0.5
    level = level + rng.uniform(-settings.brightness, settings.brightness)
    table: NDArray[np.uint8] = np.rint(np.clip(level, 0, 1) * 255).astype(np.uint8)
    return table


def _degrade(
    film: NDArray[np.uint8], settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Blur, noise and one more JPEG pass, each as drawn."""
    if rng.random() < settings.blur:
        film = np.asarray(cv2.GaussianBlur(film, (0, 0), rng.uniform(0.4, 1.2)), dtype=np.uint8)
    deviation = rng.uniform(0, settings.noise) * 255
    if deviation > 0.5:
        noise = rng.standard_normal(film.shape, dtype=np.float32) * np.float32(deviation)
        film = np.clip(film + noise, 0, 255).astype(np.uint8)
    if rng.random() < settings.recompress:
        quality = int(rng.integers(50, 96))
        _, encoded = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
        film = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return film
