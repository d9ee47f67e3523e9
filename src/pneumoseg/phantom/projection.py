"""From a body to a chest film: Beer-Lambert projection, scatter, noise, detector and display.

Rays run parallel along ``y``; the film is laid out as it is displayed, patient's right on the
viewer's left, head up, for PA and AP alike. A PA and an AP film differ in exposure, scatter and
noise here, and in the posture that the body was made with; magnification is not simulated, so the
pixel spacing holds at every depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.body import Body
from pneumoseg.phantom.distractors import MARKER, distractor_water, print_marker
from pneumoseg.phantom.intervals import Array

WATER_ATTENUATION_PER_MM = 0.0195
"""Linear attenuation of water at about 68 keV, the mean energy behind a chest at 120 kV (NIST)."""
MIN_AIR_PATH_MM = 12.0
"""A pixel belongs to the mask where the ray runs through at least this much pleural air."""
VIEWS = ("PA", "AP")
_OVERSIZE = 1.12
_SCATTER_MM = 35.0
_SCATTER_GRID = 128
_DETAIL_MM = 14.0
_TEXTURE_MM = 1.0
_TEXTURE_SHARE = 0.004


@dataclass(frozen=True)
class Exposure:
    """How one film was taken and displayed.

    Attributes:
        field_mm: side of the square detector.
        centre_mm: z and x at the middle of the film.
        turn_degrees: rotation of the patient in the film plane.
        scatter: scattered over primary radiation behind the grid.
        photons: photons per pixel of a 1024 film without a patient.
        detail: strength of the local contrast enhancement of the display.
        gamma: bend of the display curve, 1 for none.
        black: how far below the clearest lung the display turns black, in shares of its range.
        collimation: black share at the top, bottom, left and right.
    """

    field_mm: float
    centre_mm: tuple[float, float]
    turn_degrees: float = 0.0
    scatter: float = 0.6
    photons: float = 1e5
    detail: float = 0.35
    gamma: float = 1.0
    black: float = 0.1
    collimation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def draw_exposure(body: Body, view: str, rng: np.random.Generator) -> Exposure:
    """Draw the conditions of one film; AP films scatter more, are noisier and less well centred."""
    shape = body.anatomy.right
    bedside = view == "AP"
    chest = 2 * (shape.half_width + body.anatomy.wall)
    field = float(np.clip(chest * rng.uniform(0.98, 1.2), 270, 430))
    middle = 0.5 * shape.height + 8 + rng.normal(0, 14 if bedside else 8)
    trimmed = rng.random(4) < 0.12
    return Exposure(
        field_mm=field,
        centre_mm=(float(middle), float(rng.normal(0, 9 if bedside else 5))),
        turn_degrees=float(rng.normal(0, 3.0 if bedside else 1.2)),
        scatter=float(rng.uniform(0.7, 1.5) if bedside else rng.uniform(0.35, 0.9)),
        photons=float(10 ** rng.uniform(4.0, 4.8) if bedside else 10 ** rng.uniform(4.4, 5.4)),
        detail=float(rng.uniform(0.2, 1.4)),
        gamma=float(rng.uniform(0.8, 1.35)),
        black=float(rng.uniform(-0.02, 0.25)),
        collimation=tuple(float(c) for c in trimmed * rng.uniform(0.005, 0.05, 4)),  # type: ignore[arg-type]
    )


def transmit(water_mm: Array) -> Array:
    """Share of the beam behind a path of water, by the law of Beer and Lambert.

    Args:
        water_mm: float32, any shape, water-equivalent path in mm.

    Returns:
        float32 in (0, 1]: exp(-mu x).
    """
    return np.asarray(np.exp(np.float32(-WATER_ATTENUATION_PER_MM) * water_mm), dtype=np.float32)


def project(
    body: Body,
    view: str,
    rng: np.random.Generator,
    *,
    size: int = 1024,
    exposure: Exposure | None = None,
    distractors: tuple[str, ...] = (),
    min_air_path_mm: float = MIN_AIR_PATH_MM,
) -> tuple[Array, NDArray[np.bool_], float]:
    """Take a chest film of a body.

    Args:
        body: from :func:`pneumoseg.phantom.body.make_body`.
        view: ``"PA"`` or ``"AP"``.
        rng: noise, distractors and, without ``exposure``, the conditions of the film.
        size: rows and columns of the film.
        exposure: the conditions; drawn when None.
        distractors: names from :mod:`pneumoseg.phantom.distractors`.
        min_air_path_mm: shortest path through pleural air that belongs to the mask.

    Returns:
        Pixels float32 (size, size) in [0, 1], white bone; mask bool (size, size); pixel spacing in
        mm.

    Raises:
        ValueError: an unknown view or a size below 32.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    if size < 32:
        raise ValueError(f"size must be 32 or more, got {size}")
    conditions, noise, extras = rng.spawn(3)
    exposure = exposure or draw_exposure(body, view, conditions)
    z, x = _grid(exposure, size)
    maps = body.maps(z, x)
    water = maps.water + distractor_water(distractors, body.anatomy, extras, z, x)
    water += _interstitium(maps.lung, float(x[1] - x[0]), extras)
    turn = _turn(exposure, z, x, size)
    flat = _warp(water, turn, size, cv2.INTER_CUBIC)
    mask = _warp(maps.pleural_air, turn, size, cv2.INTER_LINEAR) >= min_air_path_mm
    spacing = exposure.field_mm / size
    signal = _detect(transmit(np.maximum(flat, 0)), exposure, spacing, size, noise)
    film = _display(signal, exposure, spacing)
    if MARKER in distractors:
        film = print_marker(film, extras, portable=view == "AP" and bool(extras.random() < 0.5))
    film, mask = _collimate(film, mask, exposure)
    return film, mask, spacing


def _interstitium(lung: Array, step: float, rng: np.random.Generator) -> Array:
    """Fine texture of the lung, vessels and septa too small for the tree, in mm of water."""
    noise = rng.standard_normal(lung.shape, dtype=np.float32)
    sigma = max(_TEXTURE_MM / step, 0.5)
    # Smoothing white noise divides its deviation by 2 sigma sqrt(pi).
    texture = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(2 * np.sqrt(np.pi) * sigma)
    return np.asarray(texture * np.float32(_TEXTURE_SHARE) * lung, dtype=np.float32)


def _grid(exposure: Exposure, size: int) -> tuple[Array, Array]:
    """Coronal grid for a film: half its resolution, with room for turning."""
    count = max(64, round(size / 2 * _OVERSIZE))
    reach = exposure.field_mm * _OVERSIZE / 2
    line = np.linspace(-reach, reach, count, dtype=np.float32)
    return line + np.float32(exposure.centre_mm[0]), line + np.float32(exposure.centre_mm[1])


def _turn(exposure: Exposure, z: Array, x: Array, size: int) -> NDArray[np.float64]:
    """Affine (2, 3) from film pixels to grid pixels."""
    step = float(x[1] - x[0])
    scale = exposure.field_mm / size / step
    angle = np.deg2rad(exposure.turn_degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    middle, half = (x.size - 1) / 2, (size - 1) / 2
    return np.array(
        [
            [cosine, -sine, middle - half * (cosine - sine)],
            [sine, cosine, middle - half * (sine + cosine)],
        ]
    )


def _warp(pixels: Array, turn: NDArray[np.float64], size: int, method: int) -> Array:
    flags = method | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(
        pixels, turn, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, dtype=np.float32)


def _detect(
    primary: Array, exposure: Exposure, spacing: float, size: int, rng: np.random.Generator
) -> Array:
    """Add scatter and quantum noise and blur like a detector; relative signal, positive."""
    side = min(_SCATTER_GRID, size)
    small = cv2.resize(primary, (side, side), interpolation=cv2.INTER_AREA)
    # Only what the body scatters: the open beam beside it is no source.
    small = np.minimum(small, 0.35)
    wide = cv2.GaussianBlur(small, (0, 0), _SCATTER_MM / (spacing * size / side))
    scatter = cv2.resize(wide, (size, size), interpolation=cv2.INTER_LINEAR)
    signal = primary + np.float32(0.5 * exposure.scatter) * scatter
    # The normal approximation of Poisson noise: every pixel counts hundreds of photons.
    photons = np.float32(exposure.photons * (1024 / size) ** 2)
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.sqrt(signal / photons)
    signal = signal + cv2.GaussianBlur(noise, (0, 0), 0.55)
    return np.asarray(np.maximum(signal, 1e-4), dtype=np.float32)


def _display(signal: Array, exposure: Exposure, spacing: float) -> Array:
    """Logarithm, window from the image's own range, local contrast and a film-like curve."""
    density = -np.log(signal)
    sample = density[::8, ::8]
    chest = sample[sample > 0.5]
    low, high = np.percentile(chest if chest.size else sample, (2.0, 98.0))
    low = max(0.25, low - float(exposure.black) * (high - low))
    scaled = (density - np.float32(low)) / np.float32(max(high - low, 0.1))
    factor = max(1, round(_DETAIL_MM / spacing / 4))
    side = max(8, signal.shape[0] // factor)
    small = cv2.resize(np.clip(scaled, 0, 1.2), (side, side), interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), 4.0)
    scaled += np.float32(exposure.detail) * (
        scaled - cv2.resize(wide, signal.shape[::-1], interpolation=cv2.INTER_LINEAR)
    )
    table = np.clip(np.linspace(0, 1.3, 4096), 0, None) ** exposure.gamma
    # A soft shoulder keeps the mediastinum below white.
    table = 0.96 * (1 - np.exp(-1.1 * table)) / (1 - np.exp(-1.1 * 1.3))
    index = np.clip(scaled * (4095 / 1.3), 0, 4095).astype(np.int32)
    return np.asarray(table.astype(np.float32)[index], dtype=np.float32)


def _collimate(
    film: Array, mask: NDArray[np.bool_], exposure: Exposure
) -> tuple[Array, NDArray[np.bool_]]:
    """Blacken what the collimator shuts out, on film and mask."""
    size = film.shape[0]
    top, bottom, left, right = (round(c * size) for c in exposure.collimation)
    open_field = np.zeros(film.shape, dtype=np.bool_)
    open_field[top : size - bottom, left : size - right] = True
    return np.where(open_field, film, np.float32(0)), mask & open_field
