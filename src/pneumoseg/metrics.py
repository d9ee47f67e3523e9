"""What the project measures, on arrays of one value per image; numpy only.

Every statistic takes all images and says None where it is not defined (an AUROC of one class, a
recall without positives), never 0 or NaN. Masks meet their truth once, in :func:`dice`; the rest
works on the per-image results, so that a thousand bootstrap resamples cost seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SEED_BETA = 2.0
"""F2 weighs recall over precision: the seed's criterion of stage one (van Rijsbergen 1979)."""
CONFIDENCE = 0.95
"""Every interval of the project is a 95 % interval."""
BOOTSTRAP_REPEATS = 1000

Statistic = Callable[[NDArray[np.int64]], float | None]
"""A figure of the images with these indices (repeats allowed), None where it is not defined."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of images by what was said and what is true; every ratio is None over nothing."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def recall(self) -> float | None:
        """Share of the positive images found (sensitivity)."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """Share of the negative images left alone."""
        return _share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> float | None:
        """Positive predictive value (precision): share of the suspected that are positive."""
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> float | None:
        """Negative predictive value: share of the unsuspected images that are negative."""
        return _share(self.true_negative, self.true_negative + self.false_negative)

    @property
    def accuracy(self) -> float | None:
        """Share of all images decided rightly."""
        right = self.true_positive + self.true_negative
        return _share(right, right + self.false_positive + self.false_negative)

    def f_beta(self, beta: float = SEED_BETA) -> float | None:
        """F-measure: recall counts ``beta`` times as much as precision; None without positives."""
        if self.true_positive + self.false_negative == 0:
            return None
        weight = beta * beta
        found = (1 + weight) * self.true_positive
        return found / (found + weight * self.false_negative + self.false_positive)

    def as_dict(self) -> dict[str, float | int | None]:
        """Counts and ratios, for JSON."""
        ratios = {name: getattr(self, name) for name in ("recall", "specificity", "ppv", "npv")}
        return asdict(self) | ratios | {"f2": self.f_beta()}


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Receiver operating characteristic: float64 arrays of one length, from (0, 0) to (1, 1).

    ``thresholds`` falls; the first is infinite (nothing suspected). An image is suspected from its
    threshold upwards (``>=``).
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _scores_and_labels(
    scores: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both as flat arrays of one length, or a ValueError."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.bool_)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(
            f"expected one score and one label per image, got {values.shape} and {truth.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values, truth


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Args:
        scores: (n,) finite; any monotone scale (logits, probabilities).
        labels: (n,) bool.

    Returns:
        In [0, 1]; None when there are no positives or no negatives. Source: Hanley and McNeil 1982.
    """
    values, truth = _scores_and_labels(scores, labels)
    positives = int(np.count_nonzero(truth))
    negatives = truth.size - positives
    if not positives or not negatives:
        return None
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2.0  # tied scores share their mean rank
    rank_sum = float(rank[place[truth]].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> RocCurve | None:
    """ROC curve with one point per distinct score.

    Args:
        scores: (n,) finite.
        labels: (n,) bool.

    Returns:
        The curve, None when there are no positives or no negatives.
    """
    values, truth = _scores_and_labels(scores, labels)
    if truth.all() or not truth.any():
        return None
    distinct, place = np.unique(values, return_inverse=True)
    found = np.bincount(place[truth], minlength=distinct.size)[::-1].cumsum()
    alarms = np.bincount(place[~truth], minlength=distinct.size)[::-1].cumsum()
    return RocCurve(
        false_positive_rate=np.concatenate(([0.0], alarms / alarms[-1])),
        true_positive_rate=np.concatenate(([0.0], found / found[-1])),
        thresholds=np.concatenate(([np.inf], distinct[::-1])),
    )


def confusion(predicted: ArrayLike, labels: ArrayLike) -> ConfusionMatrix:
    """Count images by decision and truth; both (n,) bool."""
    said, truth = np.asarray(predicted, dtype=np.bool_), np.asarray(labels, dtype=np.bool_)
    if said.ndim != 1 or said.shape != truth.shape:
        raise ValueError(f"expected one decision per label, got {said.shape} and {truth.shape}")
    return ConfusionMatrix(
        true_positive=int(np.count_nonzero(said & truth)),
        false_positive=int(np.count_nonzero(said & ~truth)),
        false_negative=int(np.count_nonzero(~said & truth)),
        true_negative=int(np.count_nonzero(~said & ~truth)),
    )


def f2(predicted: ArrayLike, labels: ArrayLike) -> float | None:
    """F-measure at beta 2, the seed's criterion of stage one; None without positive images."""
    return confusion(predicted, labels).f_beta(SEED_BETA)


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap of two masks, bool of one shape, in [0, 1]; 1 when both are empty (SIIM-ACR 2019).

    Source: Dice 1945.
    """
    if mask.dtype != np.bool_ or truth.dtype != np.bool_ or mask.shape != truth.shape:
        raise ValueError(
            "expected two bool masks of one shape, got "
            f"{mask.dtype} {mask.shape} and {truth.dtype} {truth.shape}"
        )
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero(mask & truth)) / total if total else 1.0


def lesion_dice(dices: ArrayLike, labels: ArrayLike) -> float | None:
    """Mean Dice of the positive images alone.

    Args:
        dices: (n,) per-image Dice from :func:`dice`; 0 for a lesion that was missed or whose image
            never reached stage two.
        labels: (n,) bool, whether the truth has a lesion.

    Returns:
        In [0, 1], None without positive images.
    """
    values, truth = _scores_and_labels(dices, labels)
    return float(values[truth].mean()) if truth.any() else None


def siim_mean_dice(dices: ArrayLike) -> float | None:
    """Mean of the per-image Dice over all images, an empty pair counting 1: the challenge's score.

    It rewards silence: on a set with 80 % negatives, never marking anything scores 0.80.
    """
    values = np.asarray(dices, dtype=np.float64)
    return float(values.mean()) if values.size else None


def share_segmented(segmented: ArrayLike) -> float | None:
    """Share of the images that reached stage two, (n,) bool."""
    values = np.asarray(segmented, dtype=np.bool_)
    return float(values.mean()) if values.size else None


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval; both ends None where too few resamples define the figure."""

    low: float | None
    high: float | None
    unit: str
    """What was resampled: ``"patient"``, or ``"image"`` where patients are not known."""


@dataclass(frozen=True)
class Figure:
    """One measured number as it must be shown: never without n and its interval.

    ``n`` counts the images the figure is taken over (for recall and lesion Dice the positive ones,
    for specificity the negative ones), ``n_positive`` and ``n_patients`` those among them;
    ``n_patients`` is None where patients are not known. ``value`` is None where the figure is not
    defined, and ``reason`` then says why.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_positive: int
    n_patients: int | None
    unit: str
    reason: str = ""


FEWEST_DEFINED = 0.5
"""Share of the resamples that must define a figure for its percentiles to mean anything."""


def bootstrap_by_patient(
    statistic: Statistic,
    groups: ArrayLike | None,
    rng: np.random.Generator,
    repeats: int = BOOTSTRAP_REPEATS,
    *,
    n: int | None = None,
) -> Interval:
    """Percentile bootstrap 95 % interval, resampling patients with all their images.

    Images of one patient are alike; resampling images as if they were independent makes intervals
    too narrow (cluster bootstrap: Davison and Hinkley 1997, section 3.8).

    Args:
        statistic: the figure as a function of image indices, each patient's as often as drawn.
        groups: (n,) one patient name or number per image, or None where unknown: then images are
            resampled and ``unit`` says so.
        rng: the source of the draws; the same state gives the same interval.
        repeats: number of resamples.
        n: number of images; needed where ``groups`` is None.

    Returns:
        The interval. Resamples in which the figure is not defined are left out; where they are more
        than half, both ends are None.

    Raises:
        ValueError: no images, fewer than one resample, or neither ``groups`` nor ``n``.
    """
    if groups is not None:
        patients, member = np.unique(np.asarray(groups), return_inverse=True)
        units, unit = patients.size, "patient"
    elif n is not None:
        units, member, unit = n, np.arange(n), "image"
    else:
        raise ValueError("give the patients of the images, or n where they are not known")
    if units < 1 or repeats < 1:
        raise ValueError(f"nothing to resample: {units} {unit}s, {repeats} repeats")
    images = np.arange(member.size, dtype=np.int64)
    values = []
    for _ in range(repeats):
        times = np.bincount(rng.integers(units, size=units), minlength=units)
        value = statistic(np.repeat(images, times[member]))
        if value is not None:
            values.append(value)
    if len(values) < FEWEST_DEFINED * repeats:
        return Interval(None, None, unit)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high), unit)
