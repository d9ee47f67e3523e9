"""Where to put stage two's threshold and smallest lesion: a search on the calibration part.

The maps come one after the other, so a thousand of them need no more memory than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError
from pneumoseg.postprocess import CONNECTIVITY
from pneumoseg.settings import SEGMENTER_THRESHOLD

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(2, 19))
"""0.10 to 0.90 in steps of 0.05: finer steps change the Dice by less than its interval."""
MIN_PIXELS_CHOICES = (0, 25, 50, 100, 200, 300, 500, 800)
"""On the 512×512 grid, around the seed's 200."""


@dataclass(frozen=True, eq=False)
class SegmenterCase:
    """One calibration image as stage two sees it.

    Attributes:
        probabilities: float32 (rows, cols) in [0, 1] on the 512×512 grid.
        truth: bool, same shape; empty for a negative image.
        suspected: whether stage one sends the image on; if not, its mask stays empty.
    """

    probabilities: NDArray[np.float32]
    truth: NDArray[np.bool_]
    suspected: bool


@dataclass(frozen=True)
class OperatingPoint:
    """One pair of settings and what the cascade reaches with it on the cases.

    ``lesion_dice`` is the mean over positive images, missed ones 0; ``siim_mean_dice`` over all
    images, empty pairs 1; ``false_positive_rate`` the share of the suspected negative images that
    keep a mask (None where there are none); ``missed_rate`` the share of the positive images left
    without a mask, by either stage.
    """

    threshold: float
    min_pixels: int
    lesion_dice: float
    siim_mean_dice: float
    false_positive_rate: float | None
    missed_rate: float


@dataclass(frozen=True)
class OperatingPointSearch:
    """The chosen point, every point tried, and the counts behind them."""

    best: OperatingPoint
    points: tuple[OperatingPoint, ...]
    n: int
    n_positive: int
    n_suspected_negative: int


def choose_segmenter_operating_point(
    cases: Iterable[SegmenterCase],
    thresholds: Sequence[float] = THRESHOLDS,
    min_pixels_choices: Sequence[int] = MIN_PIXELS_CHOICES,
) -> OperatingPointSearch:
    """Search the grid of threshold and smallest lesion for the highest lesion Dice.

    A lesion is kept from ``min_pixels`` pixels upwards. Among equal Dice the larger ``min_pixels``
    wins (fewer false alarms), then the threshold nearest the seed's. Thresholds compare ``>=``.

    Args:
        cases: one per calibration image, read once, one at a time.
        thresholds: tried for the pixels' probability.
        min_pixels_choices: tried for the smallest lesion, in pixels of the cases' grid.

    Raises:
        DataError: no positive image among the cases, or nothing to try.
        ValueError: a case's map and truth differ in shape.
    """
    if not thresholds or not min_pixels_choices:
        raise DataError("give one threshold and one smallest lesion or more to try")
    shape = (len(thresholds), len(min_pixels_choices))
    positive_dice, missed, alarms = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    n = n_positive = n_suspected_negative = 0
    for case in cases:
        n += 1
        lesion = bool(case.truth.any())
        n_positive += lesion
        n_suspected_negative += case.suspected and not lesion
        if not case.suspected:
            missed += lesion
            continue
        area, overlap = kept_areas(case.probabilities, case.truth, thresholds, min_pixels_choices)
        if lesion:
            positive_dice += 2.0 * overlap / (area + int(np.count_nonzero(case.truth)))
            missed += area == 0
        else:
            alarms += area > 0
    if not n_positive:
        raise DataError(f"none of the {n} calibration images has a lesion: nothing to measure")
    mean_dice = (positive_dice + (n - n_positive - alarms)) / n
    points = [
        OperatingPoint(
            threshold=float(threshold),
            min_pixels=int(smallest),
            lesion_dice=float(positive_dice[i, j] / n_positive),
            siim_mean_dice=float(mean_dice[i, j]),
            false_positive_rate=(
                float(alarms[i, j] / n_suspected_negative) if n_suspected_negative else None
            ),
            missed_rate=float(missed[i, j] / n_positive),
        )
        for i, threshold in enumerate(thresholds)
        for j, smallest in enumerate(min_pixels_choices)
    ]
    best = max(points, key=_preference)
    return OperatingPointSearch(best, tuple(points), n, n_positive, n_suspected_negative)


def _preference(point: OperatingPoint) -> tuple[float, int, float]:
    """Order of the points; rounding keeps the last bit of a sum from breaking a tie."""
    distance = abs(point.threshold - SEGMENTER_THRESHOLD)
    return round(point.lesion_dice, 9), point.min_pixels, -distance


def kept_areas(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.bool_],
    thresholds: Sequence[float],
    min_pixels_choices: Sequence[int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mask area and its overlap with the truth at every pair of threshold and smallest lesion.

    Args:
        probabilities: float32 (rows, cols) in [0, 1].
        truth: bool, same shape.
        thresholds: a pixel belongs to the mask from each on (``>=``).
        min_pixels_choices: components of fewer pixels are dropped.

    Returns:
        Two arrays (thresholds, min_pixels) in pixels.

    Raises:
        ValueError: map and truth differ in shape.
    """
    if probabilities.shape != truth.shape:
        raise ValueError(f"map {probabilities.shape} and truth {truth.shape} differ in shape")
    smallest = np.asarray(min_pixels_choices)
    area = np.zeros((len(thresholds), smallest.size))
    overlap = np.zeros_like(area)
    widest = (probabilities >= min(thresholds)).view(np.uint8)
    left, top, width, height = cv2.boundingRect(widest)  # nothing lies outside it
    box = (slice(top, top + height), slice(left, left + width))
    for i, threshold in enumerate(thresholds if width else ()):
        above = (probabilities[box] >= threshold).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            above, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
        )
        if count == 1:  # background alone
            continue
        sizes = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)  # (lesions,)
        shared = np.bincount(labels[truth[box]], minlength=count)[1:]
        keep = sizes[None, :] >= smallest[:, None]  # (min_pixels, lesions)
        area[i] = keep @ sizes
        overlap[i] = keep @ shared
    return area, overlap
