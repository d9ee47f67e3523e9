"""Is a frontal film the right way up, and black where it should be? By content, for want of tags.

The coarse pattern of a chest (dark lungs to both sides of a bright middle, bright below) is taken
from the mean of some phantoms, never from real films. A film is compared with it in its own
position, in three quarter turns and inverted, by correlation on 16×16; it is called turned or
inverted where that fits clearly better.

How often that is right is measured by ``benchmarks/doctor_content.py``. Side views are known by
tags and tables alone: no side views were at hand to measure a rule on.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom import make_film

SIDE = 16
POSITIONS = (
    "upright",
    "turned 90° to the left",
    "turned by 180°",
    "turned 90° to the right",
    "inverted",
)
"""How a film may lie. Inverted and turned at once is not asked for: on real films every such
answer was a false alarm, of white shutters."""
INVERTED = 4
CLEARLY = 0.2
"""How much better another position must fit, as a difference of correlations."""

DARK, WHITE = 0.08, 0.97
FLAT_SHARE = 0.9
"""A row or column belongs to a bar where this share of it is dark or white."""

_PHANTOMS, _FIRST_SEED, _PHANTOM_SIZE = 24, 777, 128


def field_of(small: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Find the exposed field between black or white bars.

    Args:
        small: (rows, cols) in [0, 1].

    Returns:
        top, bottom (exclusive), left, right (exclusive); the whole picture where all is bar.
    """
    flat = (small < DARK) | (small > WHITE)
    rows = np.flatnonzero(flat.mean(axis=1) < FLAT_SHARE)
    if not rows.size:
        return 0, small.shape[0], 0, small.shape[1]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    cols = np.flatnonzero(flat[top:bottom].mean(axis=0) < FLAT_SHARE)
    if not cols.size:
        return 0, small.shape[0], 0, small.shape[1]
    return top, bottom, int(cols[0]), int(cols[-1]) + 1


def position_scores(field: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlate a film with the template in every position.

    Args:
        field: (rows, cols), the exposed part of the film.

    Returns:
        (5,) in [−1, 1], in the order of ``POSITIONS``.
    """
    coarse = _coarse(field)
    upright = _template()
    turned = [float((coarse * np.rot90(upright, k)).sum()) for k in range(4)]
    return np.array([*turned, -turned[0]])


def position(scores: NDArray[np.float64]) -> int:
    """Say how a film lies: 0 for upright, and for whatever is not clearly something else."""
    best = int(scores.argmax())
    return best if scores[best] - scores[0] >= CLEARLY else 0


@lru_cache(maxsize=1)
def _template() -> NDArray[np.float64]:
    """Mean of some phantoms, made symmetrical: (16, 16), mean 0, norm 1."""
    mean = np.zeros((SIDE, SIDE))
    for seed in range(_FIRST_SEED, _FIRST_SEED + _PHANTOMS):
        pixels = make_film(seed, size=_PHANTOM_SIZE).image.pixels
        mean += _coarse(pixels)
    return _unit(mean + mean[:, ::-1])


def _coarse(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _unit(np.asarray(small, dtype=np.float64))


def _unit(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = picture - picture.mean()
    norm = float(np.sqrt((centred * centred).sum()))
    return np.asarray(centred / norm if norm > 0 else centred, dtype=np.float64)
