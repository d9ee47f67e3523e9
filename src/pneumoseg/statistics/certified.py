"""Recall that may be claimed: a bound that holds with stated confidence, counted by patient.

The unit is the patient with a pneumothorax. It counts as found at a threshold when **every** one of
its positive films is suspected, so its score is the lowest probability among them. Patients are
drawn independently; films of one patient are not, and counting them as if they were claims too
much (``benchmarks/certified_recall.py`` shows by how much).

Two questions, two answers:

- :func:`judge_recall`: a threshold chosen on *other* films. The Clopper-Pearson lower bound of the
  share found.
- :func:`certify_recall`: a threshold to be chosen on *these* films. Let k be the largest number of
  misses whose Clopper-Pearson lower bound among n still reaches the target; k depends on n alone.
  The threshold is the (k+1)-th lowest score. The chance that the true recall at it falls short of
  the target is at most P(Binomial(n, 1 - target) <= k) <= 1 - confidence, whatever the scores'
  distribution, ties included (Wilks 1941, distribution-free tolerance limits; the same bound as
  Clopper and Pearson 1934).

The claim is about patients like these: drawn from the same place, read from the same kind of films.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg.errors import DataError, UsageError
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.statistics.proportions import clopper_pearson_lower
from pneumoseg.statistics.recall_bounds import (
    allowed_misses,
    chance_of_at_most,
    fewest_positives,
)
from pneumoseg.statistics.resampling import CONFIDENCE

MOST_UNITS = 10_000_000
"""Beyond this many patients nobody asks how many more it would take."""


@dataclass(frozen=True)
class CertifiedRecall:
    """A threshold chosen on these films, and what may be claimed of it; ``claim`` is the sentence.

    Attributes:
        target: recall aimed at.
        confidence: of the claim.
        unit: ``patient``, or ``image`` where patients are not known.
        n_units: patients with a pneumothorax.
        n_images: their positive films.
        n_negative: films without one.
        threshold: on the probability, ``>=``; None where too few patients certify nothing.
        allowed_misses: patients that may lie below the threshold; None likewise.
        missed: patients that do (fewer than allowed where scores are tied).
        lower_bound: recall that holds with the confidence: at the threshold, or, without one, the
            most that so few patients could show if none were missed.
        more_units_needed: further patients without a miss until something can be certified.
        specificity: share of the negative films left alone at the threshold; None without any.
    """

    target: float
    confidence: float
    unit: str
    n_units: int
    n_images: int
    n_negative: int
    threshold: float | None
    allowed_misses: int | None
    missed: int | None
    lower_bound: float
    more_units_needed: int
    specificity: float | None

    @property
    def certified(self) -> bool:
        """Whether a threshold could be certified."""
        return self.threshold is not None

    @property
    def claim(self) -> str:
        """One sentence or two that may be printed."""
        who = _who(self.unit)
        if self.threshold is None:
            return (
                f"not certified: recall {self.target:g} with {self.confidence:.0%} confidence "
                f"takes {self.n_units + self.more_units_needed} {who} without a miss, here are "
                f"{self.n_units}: {self.more_units_needed} more needed. The most that "
                f"{self.n_units} can show is {self.lower_bound:.4f}."
            )
        cost = ""
        if self.specificity is not None:
            cost = f" {self.specificity:.0%} of the {self.n_negative} films without one fall below."
        return (
            f"certified: with {self.confidence:.0%} confidence, at least {self.target:.0%} of "
            f"{who} {_are_found(self.unit)} at the threshold {self.threshold:.6g} "
            f"({self.missed} of {self.n_units} missed, {self.allowed_misses} allowed).{cost}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the claim."""
        return asdict(self) | {"certified": self.certified, "claim": self.claim}


@dataclass(frozen=True)
class JudgedRecall:
    """A threshold chosen elsewhere, judged on these films; ``claim`` is the sentence.

    Attributes:
        target: recall aimed at.
        confidence: of the claim.
        unit: ``patient``, or ``image`` where patients are not known.
        threshold: on the probability, ``>=``; chosen without these films.
        n_units: patients with a pneumothorax.
        n_images: their positive films.
        missed: patients with a positive film below the threshold.
        recall: share of the patients found.
        lower_bound: recall that holds with the confidence.
        more_units_needed: further patients, none missed, until the target is certified; 0 if it is.
        more_at_this_rate: further patients if as large a share of them is missed; None where that
            share is too large for any number.
    """

    target: float
    confidence: float
    unit: str
    threshold: float
    n_units: int
    n_images: int
    missed: int
    recall: float
    lower_bound: float
    more_units_needed: int
    more_at_this_rate: int | None

    @property
    def certified(self) -> bool:
        """Whether the target is certified at this threshold."""
        return self.more_units_needed == 0

    @property
    def claim(self) -> str:
        """One sentence or two that may be printed."""
        who = _who(self.unit)
        counted = (
            f"at the threshold {self.threshold:.6g}, {self.n_units - self.missed} of "
            f"{self.n_units} {who} {_are_found(self.unit)}"
        )
        bound = f"with {self.confidence:.0%} confidence the true share is {self.lower_bound:.1%}"
        if self.certified:
            return f"certified: {counted}; {bound} or more."
        rate = ""
        if self.missed:
            rate = (
                f", {self.more_at_this_rate} if the same share is missed"
                if self.more_at_this_rate is not None
                else "; if the same share is missed, no number will do"
            )
        return (
            f"not certified: {counted}; {bound} or more. For {self.target:.0%} it would take "
            f"{self.more_units_needed} more without a miss{rate}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the claim."""
        return asdict(self) | {"certified": self.certified, "claim": self.claim}


def certify_recall(
    probability: ArrayLike,
    label: ArrayLike,
    patient: ArrayLike | None,
    target: float = TARGET_RECALL,
    confidence: float = CONFIDENCE,
) -> CertifiedRecall:
    """Choose the highest threshold whose recall can be certified, on the same films.

    It is moved halfway down to the next lower probability (:func:`just_below`), which can only
    raise the recall and keeps it from flipping with the last bit of a float.

    Args:
        probability: (n,) of each film, in [0, 1].
        label: (n,) bool, whether it shows a pneumothorax.
        patient: (n,) a name or number per film, or None: then each film counts for itself.
        target: recall to certify, in (0, 1).
        confidence: of the claim, in (0, 1).

    Raises:
        DataError: no positive film.
        UsageError: target or confidence outside (0, 1).
    """
    values, truth, scores = _unit_scores(probability, label, patient, target, confidence)
    n = scores.size
    allowed = allowed_misses(n, target, confidence)
    threshold = missed = specificity = None
    if allowed is not None:
        threshold = just_below(float(np.sort(scores)[allowed]), values)
        missed = int(np.count_nonzero(scores < threshold))
        if not truth.all():
            specificity = float((values[~truth] < threshold).mean())
    return CertifiedRecall(
        target=target,
        confidence=confidence,
        unit="image" if patient is None else "patient",
        n_units=n,
        n_images=int(truth.sum()),
        n_negative=int((~truth).sum()),
        threshold=threshold,
        allowed_misses=allowed,
        missed=missed,
        lower_bound=clopper_pearson_lower(n - (allowed or 0), n, confidence),
        more_units_needed=max(0, fewest_positives(0, target, confidence) - n),
        specificity=specificity,
    )


def judge_recall(
    probability: ArrayLike,
    label: ArrayLike,
    patient: ArrayLike | None,
    threshold: float,
    target: float = TARGET_RECALL,
    confidence: float = CONFIDENCE,
) -> JudgedRecall:
    """Bound the recall at a threshold that was chosen without these films.

    Args:
        probability: (n,) of each film, in [0, 1].
        label: (n,) bool, whether it shows a pneumothorax.
        patient: (n,) a name or number per film, or None: then each film counts for itself.
        threshold: a film is suspected from it upwards; must not have been chosen on these films.
        target: recall to certify, in (0, 1).
        confidence: of the claim, in (0, 1).

    Raises:
        DataError: no positive film.
        UsageError: target or confidence outside (0, 1).
    """
    _, truth, scores = _unit_scores(probability, label, patient, target, confidence)
    n, missed = scores.size, int(np.count_nonzero(scores < threshold))
    return JudgedRecall(
        target=target,
        confidence=confidence,
        unit="image" if patient is None else "patient",
        threshold=float(threshold),
        n_units=n,
        n_images=int(truth.sum()),
        missed=missed,
        recall=(n - missed) / n,
        lower_bound=clopper_pearson_lower(n - missed, n, confidence),
        more_units_needed=max(0, fewest_positives(missed, target, confidence) - n),
        more_at_this_rate=_more_at_rate(missed, n, target, confidence),
    )


def _more_at_rate(missed: int, n: int, target: float, confidence: float) -> int | None:
    """Further patients until the target is certified, misses growing with their number."""
    if missed >= (1.0 - target) * n:
        return None
    factor = 1.0
    total = n
    while total <= MOST_UNITS:
        misses = int(np.ceil(missed * total / n - 1e-9))
        if chance_of_at_most(misses, total, target) <= 1.0 - confidence:
            return total - n
        factor *= 1.01
        total = max(total + 1, round(n * factor))
    return None


def _unit_scores(
    probability: ArrayLike,
    label: ArrayLike,
    patient: ArrayLike | None,
    target: float,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Probabilities and labels, checked, and the lowest positive probability of each patient."""
    for name, value in (("recall", target), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise UsageError(f"{name} must lie above 0 and below 1, got {value}")
    values, truth = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.bool_)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"expected one value per label, got {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise DataError("the probabilities must be finite; some are infinite or not a number")
    if not truth.any():
        raise DataError(f"none of the {truth.size} films is positive: a recall cannot be certified")
    return values, truth, lowest_positive(values, truth, patient)


def lowest_positive(
    probability: NDArray[np.float64], label: NDArray[np.bool_], patient: ArrayLike | None
) -> NDArray[np.float64]:
    """Lowest probability among each positive patient's positive films: (n,) films to (patients,).

    Without patients each positive film stands for itself.
    """
    if patient is None:
        return probability[label]
    names = np.asarray(patient)
    if names.shape != label.shape:
        raise ValueError(f"expected one patient per film, got {names.shape} for {label.shape}")
    units, member = np.unique(names[label], return_inverse=True)
    scores = np.full(units.size, np.inf)
    np.minimum.at(scores, member, probability[label])
    return scores


def just_below(score: float, values: NDArray[np.float64]) -> float:
    """A threshold halfway down from a score to the next lower value, or to 0.

    Six digits are kept, rounded down, so that what is printed can be given back to ``predict``: a
    lower threshold only finds more.

    Args:
        score: above which all must be found; 0 or more.
        values: all probabilities at hand.
    """
    lower = values[values < score]
    midway = (score + (float(lower.max()) if lower.size else 0.0)) / 2.0
    if midway <= 0.0:
        return 0.0
    scale = 10.0 ** (5 - int(np.floor(np.log10(midway))))
    return float(np.floor(midway * scale * (1.0 + 1e-12)) / scale)


def _who(unit: str) -> str:
    return "patients with a pneumothorax" if unit == "patient" else "films with a pneumothorax"


def _are_found(unit: str) -> str:
    return "have every such film suspected" if unit == "patient" else "are suspected"
