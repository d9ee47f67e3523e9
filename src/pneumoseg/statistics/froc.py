"""Lesions found against false alarms: which outlines hit which true lesions, and the FROC curve.

A lesion is a connected component (8 neighbours). A predicted lesion hits a true one under one of
two rules, both reported: they share a pixel (*any overlap*), or their overlap is at least a tenth
of their union (*IoU ≥ 0.1*, as in nnDetection, Baumgartner et al. 2021). A true lesion's score is
the highest score of what hits it; an outline that hits none is a false positive. Source of the
curve: Chakraborty 1989; the rates it is read at, LUNA16 (Setio et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.postprocess import CONNECTIVITY
from pneumoseg.statistics.resampling import WeightedStatistic, Weights
from pneumoseg.statistics.weighted import Floats, divided

ANY_OVERLAP, IOU = "any overlap", "IoU ≥ 0.1"
HIT_RULES = (ANY_OVERLAP, IOU)
SMALLEST_IOU = 0.1
FALSE_POSITIVE_RATES = (0.125, 0.25, 0.5, 1.0)
"""False positives per image at which the curve is read."""


@dataclass(frozen=True)
class FilmLesions:
    """The lesions of one film under one rule.

    Attributes:
        hit_scores: for each true lesion the highest score that hit it, None where it was missed.
        false_scores: scores of the outlines that hit nothing.
    """

    hit_scores: tuple[float | None, ...]
    false_scores: tuple[float, ...]


def label_lesions(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Number the connected components of a mask (rows, cols) from 1; 0 is the background."""
    if not mask.any():
        return 0, np.zeros(mask.shape, dtype=np.int32)
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=CONNECTIVITY)
    return int(count) - 1, np.asarray(labels, dtype=np.int32)


def overlaps(
    labels: NDArray[np.int32], count: int, outlines: list[NDArray[np.bool_]]
) -> tuple[NDArray[np.int64], Floats]:
    """Shared pixels and IoU of every outline with every true lesion.

    Args:
        labels: (rows, cols) true lesions, numbered from 1.
        count: how many there are.
        outlines: bool masks of the same shape.

    Returns:
        Two arrays (outlines, true lesions).
    """
    shared = np.zeros((len(outlines), count), dtype=np.int64)
    if not shared.size:  # most films: nothing to meet
        return shared, np.zeros(shared.shape)
    true_area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    area = np.zeros(len(outlines), dtype=np.int64)
    for place, outline in enumerate(outlines):
        inside = labels[outline]
        area[place] = inside.size
        shared[place] = np.bincount(inside, minlength=count + 1)[1:]
    union = area[:, None] + true_area[None, :] - shared
    return shared, shared / np.maximum(union, 1)


def match_lesions(
    shared: NDArray[np.int64], iou: Floats, scores: tuple[float, ...], rule: str
) -> FilmLesions:
    """Say which true lesions were hit, at which score, and which outlines hit nothing.

    Args:
        shared: (outlines, true lesions) common pixels.
        iou: (outlines, true lesions).
        scores: of the outlines.
        rule: one of :data:`HIT_RULES`.
    """
    hits = shared > 0 if rule == ANY_OVERLAP else iou >= SMALLEST_IOU
    values = np.asarray(scores, dtype=np.float64)
    return FilmLesions(
        hit_scores=tuple(
            float(values[column].max()) if column.any() else None for column in hits.T
        ),
        false_scores=tuple(values[~hits.any(axis=1)].tolist()),
    )


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """Sensitivity by lesion against false positives per image, outlines by falling score.

    Attributes:
        false_positives_per_image: rising, from 0.
        sensitivity: share of the true lesions that are hit.
        thresholds: of the outline's score; the first is None, nothing is predicted.
    """

    false_positives_per_image: Floats
    sensitivity: Floats
    thresholds: tuple[float | None, ...]


class Candidates:
    """All outlines and hits of a data set by falling score; equal scores count together."""

    def __init__(self, films: list[FilmLesions]) -> None:
        self.n = len(films)
        self.lesions = np.array([len(film.hit_scores) for film in films], dtype=np.float64)
        self.alarms = np.array([len(film.false_scores) for film in films], dtype=np.float64)
        self.hits = np.array(
            [sum(score is not None for score in film.hit_scores) for film in films],
            dtype=np.float64,
        )
        found = [
            (score, image, True)
            for image, film in enumerate(films)
            for score in film.hit_scores
            if score is not None
        ]
        found += [(s, image, False) for image, film in enumerate(films) for s in film.false_scores]
        found.sort(key=lambda one: -one[0])
        scores = np.array([score for score, _, _ in found])
        self._image = np.array([image for _, image, _ in found], dtype=np.int64)
        self._hit = np.array([hit for _, _, hit in found], dtype=np.bool_)
        self._ends = np.flatnonzero(np.diff(scores, append=-np.inf) < 0)  # last of equal scores
        self._scores = scores[self._ends] if scores.size else scores

    def curve(self) -> FrocCurve | None:
        """The FROC curve; None where there is no true lesion."""
        if not self.lesions.sum():
            return None
        hits, alarms = self._running(np.ones((1, self.n)))
        return FrocCurve(
            false_positives_per_image=np.concatenate(([0.0], alarms[0] / self.n)),
            sensitivity=np.concatenate(([0.0], hits[0] / self.lesions.sum())),
            thresholds=(None, *self._scores.tolist()),
        )

    def sensitivity_at(self, rate: float) -> WeightedStatistic:
        """Highest sensitivity with at most ``rate`` false positives per image.

        Where the cascade outlines less than that, it is the sensitivity with all outlines.
        """

        def statistic(weights: Weights) -> Floats:
            hits, alarms = self._running(weights)
            hits = np.concatenate([np.zeros((len(weights), 1)), hits], axis=1)
            allowed = alarms <= rate * weights.sum(axis=1, keepdims=True) + 1e-9
            best = hits[np.arange(len(weights)), allowed.sum(axis=1)]
            return divided(best, weights @ self.lesions)

        return statistic

    def _running(self, weights: Weights) -> tuple[Floats, Floats]:
        """Hits and false positives down to each distinct score, (resamples, scores)."""
        drawn = weights[:, self._image]
        hits = np.cumsum(drawn * self._hit, axis=1)[:, self._ends]
        return hits, np.cumsum(drawn * ~self._hit, axis=1)[:, self._ends]
