"""From raw logits to probabilities a reader can take at their word, and to operating points.

Focal loss and the balanced sampler both shift what the classifier predicts, so its logits are
mapped by a function fitted on the calibration part: temperature with a bias (Platt 1999; Guo et al.
2017) or isotonic regression (Zadrozny and Elkan 2002). All maps are monotone: they change no
ranking.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pneumoseg.errors import DataError
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.statistics.folds import balanced_folds
from pneumoseg.statistics.logistic import fit_line

_log = logging.getLogger(__name__)

SLOPE_LIMITS = (0.01, 100.0)
"""Slope (1 / temperature) stays positive, so the map stays monotone whatever the data say."""
LOG_LOSS_FLOOR = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss, where it would be infinite."""
OPEN = 1e-6
"""How far from 0 and 1 a probability is kept where its log-odds are taken."""
FOLDS = 5

Method = Literal["none", "temperature", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """A monotone map from logit to probability; it travels in the bundle's card.

    ``none`` is the sigmoid, ``temperature`` is ``sigmoid(logit / temperature + bias)``,
    ``isotonic`` joins its knots by straight lines and is flat beyond them.
    """

    method: Method = "none"
    temperature: float = 1.0
    bias: float = 0.0
    knots_logit: tuple[float, ...] = ()
    knots_probability: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in ("none", "temperature", "isotonic"):
            raise DataError(
                f"calibration method must be none, temperature or isotonic, got {self.method!r}"
            )
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise DataError(f"a temperature must be positive, got {self.temperature}")
        if not np.isfinite(self.bias):
            raise DataError(f"a bias must be finite, got {self.bias}")
        if self.method == "isotonic":
            self._check_knots()

    def _check_knots(self) -> None:
        logits, heights = np.array(self.knots_logit), np.array(self.knots_probability)
        if not logits.size or logits.shape != heights.shape:
            raise DataError(
                f"isotonic calibration needs as many knots of logit as of probability, "
                f"got {logits.size} and {heights.size}"
            )
        if not np.isfinite(logits).all() or (np.diff(logits) <= 0).any():
            raise DataError("the knots' logits must be finite and rise")
        # Written so that a NaN fails.
        inside = bool(((heights >= 0) & (heights <= 1)).all())
        if not inside or (np.diff(heights) < 0).any():
            raise DataError("the knots' probabilities must lie in [0, 1] and never fall")

    def apply(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Map logits (any shape, finite) to probabilities: float64 in [0, 1], same shape."""
        values = np.asarray(logits, dtype=np.float64)
        if self.method == "isotonic":
            mapped = np.interp(values, self.knots_logit, self.knots_probability)
        elif self.method == "temperature":
            mapped = special.expit(values / self.temperature + self.bias)
        else:
            mapped = special.expit(values)
        return np.asarray(mapped, dtype=np.float64)


def _checked(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both as flat arrays with at least one positive and one negative, or a DataError."""
    scores, truth = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=np.bool_)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise ValueError(f"expected one value per label, got {scores.shape} and {truth.shape}")
    if not np.isfinite(scores).all():
        raise DataError("calibration needs finite values; some are infinite or not a number")
    if truth.all() or not truth.any():
        raise DataError(
            f"calibration needs positive and negative images, got {int(truth.sum())} positive "
            f"of {truth.size}; use a larger calibration part"
        )
    return scores, truth


def _platt_targets(truth: NDArray[np.bool_]) -> tuple[float, float]:
    """What negatives and positives are fitted to instead of 0 and 1 (Platt 1999, section 2.2)."""
    positives = int(truth.sum())
    return 1.0 / (truth.size - positives + 2.0), (positives + 1.0) / (positives + 2.0)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit temperature and bias by maximum likelihood, towards Platt's targets.

    The bias undoes the prior that balanced sampling and focal loss put in; a temperature alone
    cannot. Logits that do not rise with the label end at the largest temperature, a nearly constant
    probability, with a warning in the log.

    Args:
        logits: (n,) raw outputs of stage one on the calibration part.
        labels: (n,) bool.

    Raises:
        DataError: only one class, or values that are not finite.
    """
    scores, truth = _checked(logits, labels)
    low, high = _platt_targets(truth)
    slope, bias = fit_line(scores, np.where(truth, high, low), SLOPE_LIMITS)
    if slope <= SLOPE_LIMITS[0] * 1.001:
        _log.warning("the classifier's logits do not rise with the label: a temperature at its end")
    return Calibration("temperature", temperature=1.0 / slope, bias=bias)


def fit_isotonic(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit the best rising step function (pool adjacent violators), joined by straight lines.

    Its ends are held to Platt's targets: a calibration part of a few hundred images does not
    justify a probability of exactly 0 or 1.

    Args:
        logits: (n,) raw outputs of stage one on the calibration part.
        labels: (n,) bool.

    Raises:
        DataError: only one class, or values that are not finite.
    """
    from scipy import optimize  # here: inference does without, and it takes a quarter of a second

    scores, truth = _checked(logits, labels)
    distinct, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    share = np.bincount(place, weights=truth) / count
    fitted = optimize.isotonic_regression(share, weights=count.astype(np.float64)).x
    fitted = np.clip(fitted, *_platt_targets(truth))
    # Only the ends of each flat stretch bear on the map.
    change = np.concatenate(([True], np.diff(fitted) > 0, [True]))
    ends = change[:-1] | change[1:]
    return Calibration(
        "isotonic",
        knots_logit=tuple(distinct[ends].tolist()),
        knots_probability=tuple(fitted[ends].tolist()),
    )


def choose_calibration(
    logits: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    rng: np.random.Generator,
    folds: int = FOLDS,
) -> tuple[Calibration, dict[str, float]]:
    """Fit temperature or isotonic, whichever has the lower cross-validated log loss.

    Args:
        logits: (n,) raw outputs of stage one on the calibration part.
        labels: (n,) bool.
        groups: (n,) one patient per image, never split over folds; None where unknown.
        rng: splits the patients into folds.
        folds: number of folds.

    Returns:
        The calibration refitted on all images, and the log loss of each method. Where a class has
        fewer patients than folds, temperature is taken and the losses are empty: two numbers can
        be had from little data, a step function cannot.

    Raises:
        DataError: only one class, or values that are not finite.
    """
    scores, truth = _checked(logits, labels)
    fold = balanced_folds(
        truth, np.arange(truth.size) if groups is None else np.asarray(groups), rng, folds
    )
    if fold is None:
        return fit_temperature(scores, truth), {}
    fits = {"temperature": fit_temperature, "isotonic": fit_isotonic}
    losses = {}
    for name, fit in fits.items():
        held_out = np.empty(truth.size)
        for k in range(folds):
            held_out[fold == k] = fit(scores[fold != k], truth[fold != k]).apply(scores[fold == k])
        losses[name] = log_loss(held_out, truth)
    best = min(losses, key=lambda name: losses[name])
    return fits[best](scores, truth), losses


def threshold_for_recall(
    probabilities: ArrayLike, labels: ArrayLike, recall: float = TARGET_RECALL
) -> float:
    """Find the largest probability threshold whose recall is at least the one aimed at.

    It is moved halfway down to the next lower probability, where it decides the same on these
    images but does not flip with the last bit of a float.

    Args:
        probabilities: (n,) calibrated, in [0, 1].
        labels: (n,) bool.
        recall: wanted share of the positives with ``probability >= threshold``, in (0, 1].

    Returns:
        A threshold in [0, 1].

    Raises:
        DataError: no positive image, or a recall outside (0, 1].
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.bool_)
    if not 0.0 < recall <= 1.0:
        raise DataError(f"a recall to aim at lies above 0 and at most 1, got {recall}")
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"expected one value per label, got {values.shape} and {truth.shape}")
    positives = np.sort(values[truth])[::-1]
    if not positives.size:
        raise DataError("no positive image in the calibration part: a recall cannot be measured")
    # 0.95 * 20 is 19.000000000000004 in some orders of rounding: that is 19 images, not 20.
    needed = max(1, int(np.ceil(recall * positives.size - 1e-9)))
    largest = float(positives[needed - 1])
    lower = values[values < largest]
    below = float(lower.max()) if lower.size else 0.0
    midway = (largest + below) / 2.0
    return midway if below < midway else largest


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log likelihood in nats, (n,) probabilities and labels, floored near 0 and 1."""
    values = np.clip(np.asarray(probabilities, np.float64), LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
    return float(-np.mean(np.log(np.where(np.asarray(labels, np.bool_), values, 1.0 - values))))


def prior_shift(before: float, after: float) -> float:
    """By how much log-odds move when the prevalence goes from ``before`` to ``after``.

    It holds where only the prevalence differs (Saerens et al. 2002).
    """
    return float(special.logit(after) - special.logit(before))


def remapped(calibration: Calibration, slope: float, shift: float) -> Calibration:
    """Change a calibration's log-odds z to ``slope * z + shift``; it stays monotone.

    Of an isotonic map the knots move; between them it stays straight in the probability.

    Args:
        calibration: the map to change.
        slope: positive.
        shift: in log-odds.
    """
    if calibration.method == "isotonic":
        heights = np.clip(calibration.knots_probability, OPEN, 1 - OPEN)
        moved = special.expit(slope * special.logit(heights) + shift)
        return dataclasses.replace(calibration, knots_probability=tuple(moved.tolist()))
    # without a map the log-odds are the logit itself
    temperature, bias = (
        (calibration.temperature, calibration.bias)
        if calibration.method == "temperature"
        else (1.0, 0.0)
    )
    return Calibration("temperature", temperature / slope, slope * bias + shift)


def moved_probability(probability: float, slope: float, shift: float) -> float:
    """One probability, moved as :func:`remapped` moves them all; 0 and 1 stay."""
    if not 0.0 < probability < 1.0:
        return probability
    return float(special.expit(slope * special.logit(probability) + shift))
