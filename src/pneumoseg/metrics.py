"""What the project measures, on arrays of one value per image; numpy only.

Plain calls of the one engine (:mod:`pneumoseg.statistics.weighted`), each image counted once. Every
statistic takes all images and gives None where it is not defined (an AUROC of one class, a recall
without positives), never 0 or NaN. Masks meet their truth once, in :func:`dice`; the rest works on
the per-image results, so that a thousand bootstrap resamples cost seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Estimate
from pneumoseg.statistics.resampling import BOOTSTRAP_REPEATS, CONFIDENCE, Interval, resampler

__all__ = [
    "BOOTSTRAP_REPEATS",
    "CONFIDENCE",
    "SEED_BETA",
    "ConfusionMatrix",
    "Estimate",
    "Interval",
    "RocCurve",
    "Statistic",
    "auroc",
    "bootstrap_by_patient",
    "confusion",
    "dice",
    "f2",
    "lesion_dice",
    "roc_curve",
    "share_segmented",
    "siim_mean_dice",
]

SEED_BETA = 2.0
"""F2 weighs recall over precision: the seed's criterion of stage one (van Rijsbergen 1979)."""

Statistic = Callable[[NDArray[np.int64]], float | None]
"""A figure of the images with these indices (repeats allowed), None where it is not defined."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of images by what was predicted and what is true; every ratio is None over nothing."""

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
        counts = (self.true_positive, self.false_negative, self.false_positive)
        value = float(weighted.f_measure(*counts, beta))
        return None if np.isnan(value) else value

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


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Args:
        scores: (n,) finite; any monotone scale (logits, probabilities).
        labels: (n,) bool.

    Returns:
        In [0, 1]; None when there are no positives or no negatives. Source: Hanley and McNeil 1982.
    """
    return weighted.once(weighted.auroc(scores, labels), np.size(labels))


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> RocCurve | None:
    """ROC curve with one point per distinct score.

    Args:
        scores: (n,) finite.
        labels: (n,) bool.

    Returns:
        The curve, None when there are no positives or no negatives.
    """
    values, truth = weighted.scores_and_labels(scores, labels)
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
    found, truth = np.asarray(predicted, dtype=np.bool_), np.asarray(labels, dtype=np.bool_)
    if found.ndim != 1 or found.shape != truth.shape:
        raise ValueError(f"expected one decision per label, got {found.shape} and {truth.shape}")
    return ConfusionMatrix(
        true_positive=int(np.count_nonzero(found & truth)),
        false_positive=int(np.count_nonzero(found & ~truth)),
        false_negative=int(np.count_nonzero(~found & truth)),
        true_negative=int(np.count_nonzero(~found & ~truth)),
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
    values, truth = weighted.scores_and_labels(dices, labels)
    return weighted.once(weighted.mean_over(values, truth), truth.size)


def siim_mean_dice(dices: ArrayLike) -> float | None:
    """Mean of the per-image Dice over all images, an empty pair counting 1: the challenge's score.

    It rewards silence: on a set with 80 % negatives, never marking anything scores 0.80.
    """
    return _mean(dices)


def share_segmented(segmented: ArrayLike) -> float | None:
    """Share of the images that reached stage two, (n,) bool."""
    return _mean(segmented)


def _mean(values: ArrayLike) -> float | None:
    everything = np.ones(np.size(values), dtype=np.bool_)
    return weighted.once(weighted.mean_over(values, everything), everything.size)


def bootstrap_by_patient(
    statistic: Statistic,
    groups: ArrayLike | None,
    rng: np.random.Generator,
    repeats: int = BOOTSTRAP_REPEATS,
    *,
    n: int | None = None,
) -> Interval:
    """Percentile bootstrap 95 % interval, resampling patients with all their images.

    For a figure that is not in :mod:`pneumoseg.statistics.weighted`; the draws are the same.

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
    if groups is None and n is None:
        raise ValueError("give the patients of the images, or n where they are not known")
    images = np.size(groups) if groups is not None else n or 0
    draws = resampler(groups, images, seed=rng, repeats=repeats)
    return draws.intervals({"": weighted.by_index(statistic)})[""]
