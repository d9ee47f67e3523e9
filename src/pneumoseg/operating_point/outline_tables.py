"""What every film's mask would be at every setting: areas and overlaps instead of masks.

One pass over the maps; after it a search over thousands of operating points is matrix arithmetic.
All areas are in pixels of the 512×512 grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.operating_point.scores import CascadeScores
from pneumoseg.postprocess import CONNECTIVITY
from pneumoseg.statistics.segmenter_search import kept_areas

BOTTOM_THRESHOLDS = (0.01, 0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 20)))
"""Tried for the pixels of a mask; the low ones for weak networks and the soft gate."""
MIN_PIXELS = (0, 25, 50, 100, 200, 300, 500, 800, 1200, 2000)
"""Tried for the smallest component kept, around the seed's 200."""
TOP_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TOP_MIN_PIXELS = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
"""Tried for the triplet rule; a pneumothorax of 12,800 grid pixels is a twentieth of the film."""
NO_TOP_RULE = (0.0, 0)
TOP_RULES = (NO_TOP_RULE, *((t, a) for t in TOP_THRESHOLDS for a in TOP_MIN_PIXELS))


@dataclass(frozen=True, eq=False)
class OutlineTables:
    """Per film and setting: (n, bottoms, min_pixels) areas, (n, rules) decisions.

    Attributes:
        bottoms: thresholds of the pixels.
        min_pixels: smallest components kept.
        rules: (top threshold, pixels that must reach it); the first is ``NO_TOP_RULE``.
        area: pixels of the mask.
        overlap: pixels shared with the truth.
        passes: bool (n, rules), whether the film keeps its mask under the triplet rule.
        truth_area: (n,) pixels of the true mask.
        true_lesions: of each film the areas of its true components.
        label: (n,) bool.
    """

    bottoms: tuple[float, ...]
    min_pixels: tuple[int, ...]
    rules: tuple[tuple[float, int], ...]
    area: NDArray[np.float64]
    overlap: NDArray[np.float64]
    passes: NDArray[np.bool_]
    truth_area: NDArray[np.float64]
    true_lesions: tuple[tuple[int, ...], ...]
    label: NDArray[np.bool_]

    @cached_property
    def dice(self) -> NDArray[np.float64]:
        """Dice of each film's mask; a positive film whose truth vanished on the grid counts 0."""
        total = self.area + self.truth_area[:, None, None]
        dice = np.divide(2.0 * self.overlap, total, out=np.zeros_like(total), where=total > 0)
        silent = (self.area == 0) & ~self.label[:, None, None]
        return np.where(silent, 1.0, dice)


def outline_tables(
    scores: CascadeScores,
    *,
    weight: NDArray[np.float64] | None = None,
    on_film: Callable[[int], None] | None = None,
) -> OutlineTables:
    """Measure every film's mask at every setting.

    Args:
        scores: maps and truths.
        weight: (n,) in [0, 1], multiplies each film's map (the soft gate); None leaves it.
        on_film: called with the number of films done.
    """
    n, shape = len(scores.films), (len(BOTTOM_THRESHOLDS), len(MIN_PIXELS))
    area, overlap = np.zeros((n, *shape)), np.zeros((n, *shape))
    passes = np.ones((n, len(TOP_RULES)), dtype=np.bool_)
    truth_area = np.zeros(n)
    true_lesions = []
    needed = np.array(TOP_MIN_PIXELS)
    for i in range(n):
        probabilities, truth = scores.grid_map(i), scores.truth(i)
        if weight is not None:
            probabilities = probabilities * np.float32(weight[i])
        area[i], overlap[i] = kept_areas(probabilities, truth, BOTTOM_THRESHOLDS, MIN_PIXELS)
        reach = [np.count_nonzero(probabilities >= t) for t in TOP_THRESHOLDS]
        passes[i, 1:] = (np.array(reach)[:, None] >= needed[None, :]).ravel()
        truth_area[i] = np.count_nonzero(truth)
        true_lesions.append(_components(truth))
        if on_film is not None:
            on_film(i + 1)
    return OutlineTables(
        bottoms=BOTTOM_THRESHOLDS,
        min_pixels=MIN_PIXELS,
        rules=TOP_RULES,
        area=area,
        overlap=overlap,
        passes=passes,
        truth_area=truth_area,
        true_lesions=tuple(true_lesions),
        label=scores.label,
    )


def _components(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Areas of a mask's components, largest first."""
    if not mask.any():
        return ()
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    return tuple(sorted((int(a) for a in stats[1:, cv2.CC_STAT_AREA]), reverse=True))
