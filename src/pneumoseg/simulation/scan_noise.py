"""What a scanner adds to anatomy, measured in the scan itself: noise, blur, the value of air.

Simulated air must carry the noise of the scan it is put into, with its grain: CT noise is
correlated as the reconstruction filter leaves it (Riederer, Pelc, Chesler, Phys Med Biol 1978). The
autocovariance of the residual in soft tissue gives the filter that turns white noise into the like.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

AIR_HU = -1000.0
FLOOR_HU = -1024.0
"""Lowest value that most scanners store; padding beyond the field of view."""
_SOFT_HU = (-20.0, 130.0)
"""Muscle, blood and liver: where anatomy is flat and what is left over is noise."""
_LAGS = 4
_HIGH_PASS_PX = 2.0
_FEWEST_VOXELS = 500
_TYPICAL_SIGMA_HU = 15.0
_MAD_TO_SIGMA = 1.4826
_PSF_PX = (0.6, 1.4)
"""Blur of edges that chest protocols give: soft to sharp kernels on 0.6 to 0.9 mm pixels."""
_TYPICAL_PSF_PX = 0.75


@dataclass(frozen=True, eq=False)
class ScanNoise:
    """Noise and blur of one scan.

    Attributes:
        air_hu: mean value of air inside the body.
        sigma_hu: standard deviation of the noise in aerated lung.
        soft_sigma_hu: the same in soft tissue.
        kernel: float32 (9, 9) of unit energy that gives white noise the scan's grain.
        between_slices: correlation of the noise of neighbouring slices, 0 to 1.
        psf_px: standard deviation of the blur within a slice, in pixels.
    """

    air_hu: float
    sigma_hu: float
    soft_sigma_hu: float
    kernel: Array
    between_slices: float
    psf_px: float

    def draw(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
        """Draw noise of mean 0 in HU, float32 (slices, rows, cols)."""
        noise = rng.standard_normal(shape, dtype=np.float32)
        rho = self.between_slices
        for index in range(shape[0]):
            noise[index] = cv2.filter2D(
                noise[index], -1, self.kernel, borderType=cv2.BORDER_REFLECT
            )
            if index and rho > 0:
                noise[index] = rho * noise[index - 1] + np.sqrt(1 - rho**2) * noise[index]
        return noise * np.float32(self.sigma_hu)


def gaussian_noise(sigma_hu: float, grain_px: float, psf_px: float) -> ScanNoise:
    """Noise of a made-up scanner: grain of a Gaussian filter of ``grain_px``."""
    line = np.exp(-0.5 * (np.arange(-_LAGS, _LAGS + 1) / max(grain_px, 0.05)) ** 2)
    return ScanNoise(AIR_HU, sigma_hu, sigma_hu, _unit_energy(np.outer(line, line)), 0.0, psf_px)


def measure_noise(hu: Array, lungs: NDArray[np.bool_]) -> ScanNoise:
    """Measure a scan.

    Args:
        hu: float32 (slices, rows, cols).
        lungs: bool, same shape.
    """
    chosen = _richest_slices(lungs)
    part, inside = hu[chosen], lungs[chosen]
    residual = part - _blur(part, _HIGH_PASS_PX)
    smooth = _blur(part, 1.5)
    soft = _eroded((smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1]), 3)
    parenchyma = _eroded(inside, 5) & (smooth < np.median(part[inside]) + 60)
    in_soft, in_lung = (
        _sigma(residual[where]) if where.sum() > _FEWEST_VOXELS else _TYPICAL_SIGMA_HU
        for where in (soft, parenchyma)
    )
    kernel, rho = _grain(residual, soft)
    psf = _edge_blur(part, inside)
    return ScanNoise(AIR_HU, min(in_soft, in_lung), in_soft, kernel, rho, psf)


def _richest_slices(lungs: NDArray[np.bool_]) -> slice:
    """Up to nine neighbouring slices about the one with most lung."""
    middle = int(np.argmax(lungs.sum(axis=(1, 2))))
    return slice(max(0, middle - 4), middle + 5)


def _sigma(residual: Array) -> float:
    """Robust standard deviation, made up for what the high pass took."""
    return float(_MAD_TO_SIGMA * np.median(np.abs(residual)) * 1.05)


def _grain(residual: Array, soft: NDArray[np.bool_]) -> tuple[Array, float]:
    """Noise-shaping kernel and correlation between slices from the residual in soft tissue."""
    size = 2 * _LAGS + 1
    if soft.sum() < _FEWEST_VOXELS:
        return gaussian_noise(1.0, 0.6, 1.0).kernel, 0.0
    limit = 4 * _sigma(residual[soft])
    values = np.where(soft, np.clip(residual, -limit, limit), 0).astype(np.float64)
    weights = soft.astype(np.float64)
    covariance = np.zeros((size, size))
    for down in range(_LAGS + 1):
        for across in range(-_LAGS, _LAGS + 1):
            first, second = _shifted(values, down, across)
            both = float(np.multiply(*_shifted(weights, down, across)).sum())
            value = float((first * second).sum()) / max(both, 1.0)
            covariance[_LAGS + down, _LAGS + across] = value
            covariance[_LAGS - down, _LAGS - across] = value
    window = np.hanning(size + 2)[1:-1]
    padded = np.zeros((32, 32))
    padded[:size, :size] = covariance * np.outer(window, window)
    spectrum = np.fft.fft2(np.roll(padded, (-_LAGS, -_LAGS), axis=(0, 1))).real
    kernel = np.fft.ifft2(np.sqrt(np.maximum(spectrum, 0))).real
    kernel = np.roll(kernel, (_LAGS, _LAGS), axis=(0, 1))[:size, :size]
    rho = 0.0
    if values.shape[0] > 1:
        both = float((weights[1:] * weights[:-1]).sum())
        product = float((values[1:] * values[:-1]).sum()) / max(both, 1.0)
        rho = float(np.clip(product / max(covariance[_LAGS, _LAGS], 1e-6), 0, 0.9))
    return _unit_energy(kernel), rho


def _shifted(
    values: NDArray[np.float64], down: int, across: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The array and itself moved by (down, across), cut to where both are."""
    rows, columns = values.shape[1:]
    left, right = max(0, -across), columns - max(0, across)
    return (
        values[:, : rows - down, left:right],
        values[:, down:, left + across : right + across],
    )


def _edge_blur(hu: Array, lungs: NDArray[np.bool_]) -> float:
    """Blur in pixels from the steepest part of the edge of the lung: step over slope."""
    smooth = _blur(hu, 0.6)
    slope = np.hypot(ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=2)) / 8
    rim = _eroded(~_eroded(lungs, 2), 0) & lungs
    if not rim.any():
        return _TYPICAL_PSF_PX
    step = 900.0
    seen = step / (float(np.percentile(slope[rim], 85)) * np.sqrt(2 * np.pi) + 1e-6)
    blurred = max(seen**2 - 0.6**2 - 0.5**2, 0.0)  # less our own smoothing and Sobel's
    return float(np.clip(np.sqrt(blurred), *_PSF_PX))


def _blur(hu: Array, sigma_px: float) -> Array:
    return np.stack([cv2.GaussianBlur(part, (0, 0), sigma_px) for part in hu])


def _eroded(mask: NDArray[np.bool_], depth: int) -> NDArray[np.bool_]:
    if depth == 0:
        return mask
    size = 2 * depth + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.stack([cv2.erode(part.astype(np.uint8), disc) > 0 for part in mask])


def _unit_energy(kernel: NDArray[np.float64]) -> Array:
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), dtype=np.float32)
