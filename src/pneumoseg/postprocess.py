"""From a probability map on the film's own pixels to a mask and its lesions.

The map is thresholded (and emptied where the triplet rule doubts it), split into 8-connected
components, and components too small to be a pneumothorax are dropped. Nothing here knows a network;
the map comes from :func:`pneumoseg.preprocess.to_source_grid`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.study import Lesion, Mask, Side

CONNECTIVITY = 8
"""Pixels that touch at a corner belong together: a pleural line runs obliquely."""


def find_lesions(
    probabilities: NDArray[np.float32],
    *,
    threshold: float,
    min_area_px: float,
    spacing_mm: tuple[float, float] | None,
    patient_orientation: tuple[str, str] | None,
    top_threshold: float = 0.0,
    top_min_area_px: float = 0.0,
) -> tuple[Mask, tuple[Lesion, ...]]:
    """Threshold a probability map and split it into lesions.

    Args:
        probabilities: float32 (rows, cols) in [0, 1], on the film's own grid.
        threshold: a pixel belongs to the mask from this probability on (``>=``).
        min_area_px: components of fewer source pixels are dropped (``min_pixels`` of the 512×512
            grid times ``Placement.source_pixels_per_grid_pixel``).
        spacing_mm: (row, column) spacing of the film, or None where it is unknown.
        patient_orientation: DICOM Patient Orientation (0020,0020) of the film, or None; see
            :func:`patient_side`.
        top_threshold: see :func:`passes_triplet_rule`.
        top_min_area_px: likewise, in source pixels.

    Returns:
        The united mask and the lesions, largest first (then top to bottom, left to right). The
        lesions are disjoint and their union is the mask. A lesion's score is the mean probability
        inside it.

    Raises:
        ValueError: the map is not float32 (rows, cols).
    """
    if probabilities.ndim != 2 or probabilities.dtype != np.float32:
        raise ValueError(
            f"expected a float32 map (rows, cols), got {probabilities.dtype} {probabilities.shape}"
        )
    united = np.zeros(probabilities.shape, dtype=np.bool_)
    lesions: list[Lesion] = []
    above = (probabilities >= threshold).view(np.uint8)
    if not passes_triplet_rule(probabilities, top_threshold, top_min_area_px):
        above[:] = 0
    left, top, width, height = cv2.boundingRect(above)
    if width and height:
        crop = np.ascontiguousarray(above[top : top + height, left : left + width])
        count, labels, stats, centroids = cv2.connectedComponentsWithStats(
            crop, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
        )
        for label in _kept_labels(np.asarray(stats, dtype=np.int32), count, min_area_px):
            x, y, w, h = (int(value) for value in stats[label, : cv2.CC_STAT_AREA])
            inside = labels[y : y + h, x : x + w] == label
            box = (slice(top + y, top + y + h), slice(left + x, left + x + w))
            united[box] |= inside
            pixels = np.zeros(probabilities.shape, dtype=np.bool_)  # untouched pages stay unmapped
            pixels[box] = inside
            score = float(probabilities[box][inside].mean(dtype=np.float64))
            side = patient_side(
                left + float(centroids[label, 0]), probabilities.shape[1], patient_orientation
            )
            lesions.append(Lesion(Mask(pixels, spacing_mm), score, side))
    return Mask(united, spacing_mm), tuple(lesions)


def passes_triplet_rule(
    probabilities: NDArray[np.float32], top_threshold: float, top_min_area_px: float
) -> bool:
    """Whether a film's map is convinced enough for the film to keep its mask.

    The triplet rule (SIIM-ACR winner, 2019): a high threshold and an area
    decide whether there is a mask at all, a lower threshold draws it.

    Args:
        probabilities: float32 (rows, cols) in [0, 1].
        top_threshold: pixels count from this probability on (``>=``); 0 switches the rule off.
        top_min_area_px: how many pixels must count; 0 switches the rule off.
    """
    if not top_threshold or not top_min_area_px:
        return True
    return int(np.count_nonzero(probabilities >= top_threshold)) >= top_min_area_px


def patient_side(
    column: float, cols: int, patient_orientation: tuple[str, str] | None
) -> Side | None:
    """Tell the patient's side of a column of the film.

    Args:
        column: column of the lesion's centroid, 0-based, pixel centres at whole numbers.
        cols: number of columns of the film.
        patient_orientation: DICOM PS3.3 C.7.6.1.1.1: the first entry is the patient direction of
            increasing column, its first letter the main direction. Where it is absent or empty the
            usual radiographic display is assumed: the patient's right on the viewer's left.

    Returns:
        The patient's side, or None where the columns do not run between left and right (a lateral
        or turned film) or the centroid lies exactly on the middle.
    """
    along_columns = patient_orientation[0].strip().upper()[:1] if patient_orientation else ""
    middle = (cols - 1) / 2
    if along_columns not in ("", "L", "R") or column == middle:
        return None
    towards_left = along_columns != "R"
    return Side.LEFT if (column > middle) == towards_left else Side.RIGHT


def _kept_labels(stats: NDArray[np.int32], count: int, min_area_px: float) -> list[int]:
    """Labels of the components to keep, largest first; 0 is the background."""
    kept = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= min_area_px]
    return sorted(
        kept,
        key=lambda label: (
            -int(stats[label, cv2.CC_STAT_AREA]),
            int(stats[label, cv2.CC_STAT_TOP]),
            int(stats[label, cv2.CC_STAT_LEFT]),
        ),
    )
