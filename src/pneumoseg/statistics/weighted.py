"""Figures of weighted images, for many sets of weights at once.

Each function prepares a figure (sorts scores, picks the images it is over) and returns a function
of the weights (resamples, images) that gives one value a resample, NaN where it is not defined.
With weights of one (:func:`once`) they are the figures of :mod:`pneumoseg.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg.statistics.resampling import WeightedStatistic, Weights

CALIBRATION_BINS = 15
"""Number of equal-width bins of the expected calibration error (Guo et al. 2017)."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def once(statistic: WeightedStatistic, n: int) -> float | None:
    """Value of a figure on the images themselves, each counted once; None where not defined."""
    value = float(statistic(np.ones((1, n)))[0])
    return None if np.isnan(value) else value


def by_index(statistic: Callable[[NDArray[np.int64]], float | None]) -> WeightedStatistic:
    """A figure that is given the indices of the images, each as often as it was drawn.

    For what has no form with weights; it takes one call a resample.
    """

    def weighted(weights: Weights) -> Floats:
        images = np.arange(weights.shape[1], dtype=np.int64)
        found = [statistic(np.repeat(images, row.astype(np.int64))) for row in weights]
        return np.array([np.nan if value is None else value for value in found])

    return weighted


def scores_and_labels(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Bools]:
    """Both as flat arrays of one length.

    Raises:
        ValueError: they are not, or a score is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.bool_)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"expected one score per label, got {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values, truth


def divided(above: Floats, below: Floats) -> Floats:
    """Quotients, NaN over nothing."""
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def mean_over(values: ArrayLike, over: Bools) -> WeightedStatistic:
    """Mean of ``values`` (n,) over the images of ``over`` (n,): recall, specificity, mean Dice."""
    chosen = np.where(over, np.asarray(values, dtype=np.float64), 0.0)
    count = over.astype(np.float64)
    return lambda weights: divided(weights @ chosen, weights @ count)


def ratio(above: ArrayLike, below: ArrayLike) -> WeightedStatistic:
    """Quotient of two sums over images, each (n,)."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return lambda weights: divided(weights @ top, weights @ bottom)


def f_measure(found: ArrayLike, missed: ArrayLike, alarms: ArrayLike, beta: float) -> Floats:
    """F-measure of counts, weighted or not: recall counts ``beta`` times as much as precision.

    NaN without positives. Source: van Rijsbergen 1979.
    """
    hits, misses = np.asarray(found, dtype=np.float64), np.asarray(missed, dtype=np.float64)
    above = (1.0 + beta * beta) * hits
    value = divided(above, above + beta * beta * misses + np.asarray(alarms))
    return np.where(hits + misses > 0, value, np.nan)


def f_beta(predicted: Bools, label: Bools, beta: float) -> WeightedStatistic:
    """F-measure of decisions (n,) bool."""
    found, missed, alarms = (
        each.astype(np.float64)
        for each in (predicted & label, ~predicted & label, predicted & ~label)
    )
    return lambda weights: f_measure(weights @ found, weights @ missed, weights @ alarms, beta)


def difference(first: WeightedStatistic, second: WeightedStatistic) -> WeightedStatistic:
    """First minus second on the same resamples: a paired interval."""
    return lambda weights: first(weights) - second(weights)


def auroc(scores: ArrayLike, label: ArrayLike, over: Bools | None = None) -> WeightedStatistic:
    """Area under the ROC curve over the images of ``over``, ties half (Hanley and McNeil 1982)."""
    ranked = _Ranked(scores, label, over)

    def statistic(weights: Weights) -> Floats:
        positive, negative = ranked.split(weights)  # (resamples, distinct scores), rising
        below = np.cumsum(negative, axis=1) - negative
        wins = (positive * (below + 0.5 * negative)).sum(axis=1)
        return divided(wins, positive.sum(axis=1) * negative.sum(axis=1))

    return statistic


def average_precision(
    scores: ArrayLike, label: Bools, over: Bools | None = None
) -> WeightedStatistic:
    """Area under precision over recall as a sum of steps, tied scores taken together.

    It is scikit-learn's ``average_precision_score``: no straight lines between points, which would
    promise too much (Davis and Goadrich 2006). Its value by chance is the prevalence.
    """
    ranked = _Ranked(scores, label, over)

    def statistic(weights: Weights) -> Floats:
        positive, negative = (part[:, ::-1] for part in ranked.split(weights))  # falling scores
        found = np.cumsum(positive, axis=1)
        precision = np.nan_to_num(divided(found, found + np.cumsum(negative, axis=1)))
        return divided((positive * precision).sum(axis=1), found[:, -1])

    return statistic


class _Ranked:
    """Images of ``over`` in rising order of score, tied scores in one group."""

    def __init__(self, scores: ArrayLike, labels: ArrayLike, over: Bools | None) -> None:
        values, label = scores_and_labels(scores, labels)
        inside = np.arange(values.size) if over is None else np.flatnonzero(over)
        order = inside[np.argsort(values[inside], kind="stable")]
        self._order, self._label = order, label[order]
        self._starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf) > 0)

    def split(self, weights: Weights) -> tuple[Floats, Floats]:
        """Weight of the positives and of the negatives at every distinct score."""
        if not self._order.size:
            empty = np.zeros((len(weights), 1))
            return empty, empty
        sorted_weights = weights[:, self._order]
        positive = np.add.reduceat(sorted_weights * self._label, self._starts, axis=1)
        negative = np.add.reduceat(sorted_weights * ~self._label, self._starts, axis=1)
        return positive, negative


def bin_of(probability: ArrayLike, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Number of the equal-width bin that each probability in [0, 1] lies in, (n,)."""
    values = np.asarray(probability, dtype=np.float64)
    return np.minimum((values * bins).astype(np.int64), bins - 1)


def expected_calibration_error(
    probability: ArrayLike, label: Bools, bins: int = CALIBRATION_BINS
) -> WeightedStatistic:
    """Mean distance of stated and observed frequency over equal bins (Guo et al. 2017)."""
    values = np.asarray(probability, dtype=np.float64)
    place = bin_of(values, bins)
    gaps = np.zeros((values.size, bins))
    gaps[np.arange(values.size), place] = values - label

    def statistic(weights: Weights) -> Floats:
        return divided(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))

    return statistic
