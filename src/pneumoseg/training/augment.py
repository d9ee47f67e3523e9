"""Augmentation of film and mask: one fused affine map plus one lookup table, on the uint8 grid.

Flip is left-right only: a chest X-ray upside down does not exist, one of situs inversus does. An
axial CT slice of a patient lying prone is one upside down, so recipes for CT may ask for both.
Contrast and brightness are then what another window centre and width do.
Re-compression as JPEG is part of it on purpose: positives and negatives of the public data went
through different numbers of JPEG passes, and a classifier must not be able to read that history.

Where few films have a mask there is more: films enlarged about their lesion, stretched, bent
(a coarse grid of random shifts, bicubic between its nodes: Ronneberger et al., «U-Net», MICCAI
2015, arXiv 1505.04597; elastic distortion itself: Simard et al., ICDAR 2003), and covered in part
(cutout: DeVries and Taylor, 2017, arXiv 1708.04552). All geometry is one map, so that every pixel
is interpolated once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import UsageError
from pneumoseg.preprocess import GRID_SIZE

LESION_REACH = 70.0
"""An enlarged film's centre lies up to this far from a pixel of the lesion, along each axis, in
pixels of the grid: half of what a film enlarged twice shows is 128."""

ELASTIC_NODES = (4, 8)
"""Fewest and most nodes a side of the grid of random shifts."""

ELASTIC_LEAST = 0.25
"""Where a film is bent at all, it is by at least this share of ``elastic_pixels``."""

CUTOUT_RECTANGLES = (1, 4)
"""Fewest and most rectangles that cover a film."""

CUTOUT_SIDE = (16, 89)
"""Shortest and longest side of such a rectangle, in pixels of the grid."""


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
    lesion_zoom_share: float = 0.0
    """Share of films with a mask enlarged by lesion_zoom in place of scale: with a lesion, about a
    point near it; healthy ones about any point, so that being enlarged says nothing of the label.
    """
    lesion_zoom: tuple[float, float] = (1.1, 2.0)
    """Least and largest factor of such an enlargement."""
    anisotropy: float = 0.0
    """Largest natural logarithm of how far a film is stretched along x and squeezed along y."""
    elastic: float = 0.0
    """Probability of a smooth random bend."""
    elastic_pixels: float = 9.0
    """Largest standard deviation of its shifts, in pixels of the 512×512 grid."""
    cutout: float = 0.0
    """Probability that one to four rectangles of the film are covered by one grey each."""

    def __post_init__(self) -> None:
        probabilities = ("flip", "flip_vertical", "blur", "recompress")
        for name in (*probabilities, "lesion_zoom_share", "elastic", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augment.{name} lies in [0, 1], got {getattr(self, name)}")
        if len(self.lesion_zoom) != 2 or not 1 <= self.lesion_zoom[0] <= self.lesion_zoom[1]:
            raise UsageError(
                "augment.lesion_zoom is a least and a largest factor, 1 or more, for example "
                f"[1.1, 2.0]; got {list(self.lesion_zoom)}"
            )
        for name in ("anisotropy", "elastic_pixels"):
            if getattr(self, name) < 0:
                raise UsageError(f"augment.{name} must be 0 or more, got {getattr(self, name)}")


def augment(
    film: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Change a film and its mask together.

    Args:
        film: uint8 (512, 512).
        mask: uint8 0/1 (512, 512), or None when only the film is wanted or where its lesion lies
            is not known; such a film is never enlarged by ``lesion_zoom``.
        settings: the ranges.
        rng: the only source of randomness.

    Returns:
        New arrays of the same shapes and dtypes; the inputs stay as they are.
    """
    affine = _draw_affine(mask, settings, rng)
    bend = _draw_bend(settings, rng)
    moved = _move(film, affine, bend)
    moved_mask = None
    if mask is not None:
        soft = _move(mask * np.uint8(255), affine, bend)
        moved_mask = (soft >= 128).astype(np.uint8)
    toned = cv2.LUT(moved, _draw_table(settings, rng))
    degraded = _degrade(np.asarray(toned, dtype=np.uint8), settings, rng)
    return _cover(degraded, settings, rng), moved_mask


def _draw_affine(
    mask: NDArray[np.uint8] | None, settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Enlargement, flip, stretch, rotation, scale and shift as one (2, 3) map of the grid.

    What is off draws nothing, so that a recipe gives the same films as before it was there.
    """
    centre = (GRID_SIZE - 1) / 2
    angle = rng.uniform(-settings.rotate_degrees, settings.rotate_degrees)
    scale = 1 + rng.uniform(-settings.scale, settings.scale)
    shift = rng.uniform(-settings.shift, settings.shift, size=2) * GRID_SIZE
    flip = rng.random() < settings.flip
    flip_vertical = settings.flip_vertical > 0 and rng.random() < settings.flip_vertical
    focus = None
    share = settings.lesion_zoom_share
    if share > 0 and mask is not None and rng.random() < share:
        scale = rng.uniform(*settings.lesion_zoom)
        focus = _draw_focus(mask, scale, rng)
    affine = np.asarray(cv2.getRotationMatrix2D((centre, centre), angle, scale), np.float64)
    affine[:, 2] += shift
    if settings.anisotropy > 0:
        stretch = float(np.exp(rng.uniform(-settings.anisotropy, settings.anisotropy)))
        affine = affine @ _about_centre(stretch, 1 / stretch)
    if flip:
        affine = affine @ _about_centre(-1.0, 1.0)
    if flip_vertical:
        affine = affine @ _about_centre(1.0, -1.0)
    if focus is not None:
        to_centre = np.eye(3)
        to_centre[:2, 2] = centre - focus
        affine = affine @ to_centre
    return affine


def _about_centre(along_x: float, along_y: float) -> NDArray[np.float64]:
    """Scale the axes about the centre of the grid, (3, 3); -1 flips one."""
    last = GRID_SIZE - 1.0
    return np.array(
        [
            [along_x, 0.0, last * (1 - along_x) / 2],
            [0.0, along_y, last * (1 - along_y) / 2],
            [0.0, 0.0, 1.0],
        ]
    )


def _draw_focus(
    mask: NDArray[np.uint8], zoom: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Point (x, y) that an enlarged film is centred on: near the lesion, or anywhere without one.

    It keeps so far from the border that no black enters from beyond it.
    """
    last = GRID_SIZE - 1.0
    rows, columns = np.nonzero(mask)
    if len(rows):
        one = int(rng.integers(len(rows)))
        focus = np.array([columns[one], rows[one]]) + rng.uniform(-LESION_REACH, LESION_REACH, 2)
    else:
        focus = rng.uniform(0.0, last, 2)
    half_shown = last / 2 / zoom
    nearest: NDArray[np.float64] = np.clip(focus, half_shown, last - half_shown)
    return nearest


def _draw_bend(settings: AugmentSettings, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """Shifts of every pixel along x and y, float32 (2, 512, 512) in pixels; None: none."""
    if settings.elastic <= 0 or rng.random() >= settings.elastic:
        return None
    fewest, most = ELASTIC_NODES
    nodes = int(rng.integers(fewest, most + 1))
    deviation = rng.uniform(ELASTIC_LEAST, 1.0) * settings.elastic_pixels
    coarse = rng.normal(0.0, deviation, (2, nodes, nodes)).astype(np.float32)
    size = (GRID_SIZE, GRID_SIZE)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in coarse])


def _move(
    picture: NDArray[np.uint8], affine: NDArray[np.float64], bend: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """Move a film, or a mask of 0 and 255; interpolated linearly, once, and black beyond it."""
    if bend is None:
        moved = cv2.warpAffine(picture, affine, (GRID_SIZE, GRID_SIZE), flags=cv2.INTER_LINEAR)
        return np.asarray(moved, dtype=np.uint8)
    back = cv2.invertAffineTransform(affine).astype(np.float32)
    across = np.arange(GRID_SIZE, dtype=np.float32)
    x = back[0, 0] * across + back[0, 1] * across[:, None] + back[0, 2] + bend[0]
    y = back[1, 0] * across + back[1, 1] * across[:, None] + back[1, 2] + bend[1]
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR), dtype=np.uint8)


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


def _cover(
    film: NDArray[np.uint8], settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cover rectangles of a film, the mask beneath them as it was: what hides is still there."""
    if settings.cutout <= 0 or rng.random() >= settings.cutout:
        return film
    film = film.copy()
    shortest, longest = CUTOUT_SIDE
    for _ in range(int(rng.integers(CUTOUT_RECTANGLES[0], CUTOUT_RECTANGLES[1] + 1))):
        height, width = rng.integers(shortest, longest + 1, 2)
        row, column = rng.integers(0, GRID_SIZE - shortest, 2)
        film[row : row + height, column : column + width] = int(rng.integers(0, 256))
    return film
