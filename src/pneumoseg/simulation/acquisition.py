"""How a scan was made: motion, reconstruction kernel, noise, depth of breath.

The same anatomy looks different from scanner to scanner; a network must not learn one of them. Each
function takes a scan in HU and returns another, whatever the disease.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pneumoseg.simulation.scan_noise import Array, ScanNoise, gaussian_noise

MOTION, SOFT_KERNEL, SHARP_KERNEL, MORE_NOISE = (
    "motion",
    "soft kernel",
    "sharp kernel",
    "more noise",
)
_COARSE = 6
_MORE_NOISE_HU = (6.0, 40.0)


def motion(hu: Array, noise: ScanNoise, rng: np.random.Generator) -> Array:
    """Breath and heartbeat: two positions of the body half and half, a doubled edge here and there.

    The second position is displaced by a smooth field of up to some pixels; where the field is
    small, nothing is seen.
    """
    rows, columns = hu.shape[1:]
    fields = rng.standard_normal((2, _COARSE, _COARSE)).astype(np.float32)
    fields *= np.float32(rng.uniform(0.8, 2.5))
    drop, across = (
        cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC) for field in fields
    )
    place_x, place_y = np.meshgrid(
        np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)
    )
    share = np.float32(rng.uniform(0.3, 0.55))
    moved = np.stack(
        [
            cv2.remap(
                part,
                place_x + across,
                place_y + drop,
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for part in hu
        ]
    )
    return np.asarray(hu + share * (moved - hu), dtype=np.float32)


def soft_kernel(hu: Array, noise: ScanNoise, rng: np.random.Generator) -> Array:
    """A smoother reconstruction; noisy scans are smoothed more."""
    most = float(np.clip(noise.sigma_hu / 45, 0.7, 1.6))
    sigma = rng.uniform(0.45, most)
    return np.stack([cv2.GaussianBlur(part, (0, 0), sigma) for part in hu])


def sharp_kernel(hu: Array, noise: ScanNoise, rng: np.random.Generator) -> Array:
    """A sharper reconstruction: edges overshoot, noise grows; noisy scans are sharpened less."""
    amount = np.float32(rng.uniform(0.3, 1.2) * np.clip(25 / max(noise.sigma_hu, 1), 0.2, 1))
    sigma = rng.uniform(0.8, 1.5)
    return np.stack([part + amount * (part - cv2.GaussianBlur(part, (0, 0), sigma)) for part in hu])


def more_noise(hu: Array, noise: ScanNoise, rng: np.random.Generator) -> Array:
    """A lower dose: more noise of one grain or another, at times with streaks across."""
    grain = gaussian_noise(1.0, rng.uniform(0.35, 0.95), 1.0).draw(hu.shape, rng)
    streaks = np.stack([cv2.GaussianBlur(part, (0, 0), sigmaX=6.0, sigmaY=0.6) for part in grain])
    streaks /= max(float(streaks.std()), 1e-6)
    weight = np.stack([_beam_path(part) for part in hu])
    sigma = np.float32(rng.uniform(*_MORE_NOISE_HU))
    streaked = np.float32(rng.choice([0.0, 0.0, 0.7]))
    return np.asarray(hu + sigma * weight * (grain + streaked * streaks), dtype=np.float32)


def _beam_path(part: Array) -> Array:
    """How much tissue the beam meets about each pixel of a slice, 0.2 to 1: noise follows it."""
    rows, columns = part.shape
    small = cv2.resize(
        np.maximum(part, -1000), (columns // 8, rows // 8), interpolation=cv2.INTER_AREA
    )
    wide = cv2.resize(cv2.GaussianBlur(small, (0, 0), 5), (columns, rows))
    return np.asarray(np.clip((wide + 1000) / 1000, 0.2, 1), dtype=np.float32)


ACQUISITION: dict[str, Callable[[Array, ScanNoise, np.random.Generator], Array]] = {
    MOTION: motion,
    MORE_NOISE: more_noise,
    SOFT_KERNEL: soft_kernel,
    SHARP_KERNEL: sharp_kernel,
}
"""In the order in which they happen."""
