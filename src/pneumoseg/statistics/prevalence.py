"""The same recall and specificity at another prevalence: PPV, NPV, and shifted probabilities.

A classifier measured where every fifth film is positive and used where one in a hundred is will
mostly be wrong when it suspects. Recall and specificity are properties of the classifier and the
kind of cases; PPV and NPV follow from them and the prevalence by the theorem of Bayes. The same
theorem moves a probability: its log-odds shift by those of the two prevalences (Saerens et al.
2002). Both hold where only the prevalence differs: the ill look as ill, the healthy as healthy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pneumoseg.calibration import Calibration
from pneumoseg.metrics import CONFIDENCE

_DRAWS = 20_000
_JEFFREYS = 0.5
OPEN = 1e-6
"""How far from 0 and 1 a probability is kept where its log-odds are taken."""


@dataclass(frozen=True)
class Rate:
    """A share that was measured: of ``n`` units (patients where known), ``value`` of them.

    A patient with several films counts once, so that the intervals are rather too wide than too
    narrow.
    """

    value: float
    n: int

    def draws(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Values that the measurement leaves possible: the posterior under Jeffreys' prior."""
        found = self.value * self.n
        return rng.beta(found + _JEFFREYS, self.n - found + _JEFFREYS, size=_DRAWS)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of those values (Brown, Cai and DasGupta 2001)."""
        found, tail = self.value * self.n, (1 - CONFIDENCE) / 2
        low, high = stats.beta.ppf(
            [tail, 1 - tail], found + _JEFFREYS, self.n - found + _JEFFREYS
        ).tolist()
        # with nothing or everything found the interval is one-sided
        return (0.0 if self.value == 0 else low, 1.0 if self.value == 1 else high)


@dataclass(frozen=True)
class AtPrevalence:
    """PPV and NPV at one prevalence, each with its 95 % interval.

    ``suspected`` is the share of all films that would be suspected; None where a value is not
    defined, as the PPV where nothing is ever suspected.
    """

    prevalence: float
    ppv: float | None
    ppv_low: float
    ppv_high: float
    npv: float | None
    npv_low: float
    npv_high: float
    suspected: float


def predictive_values(
    recall: Rate, specificity: Rate, prevalences: ArrayLike, seed: int = 0
) -> tuple[AtPrevalence, ...]:
    """PPV and NPV by the theorem of Bayes, with the interval that both rates leave.

    Args:
        recall: share of the positive found.
        specificity: share of the negative left alone.
        prevalences: (k,) shares of films with pneumothorax, between 0 and 1.
        seed: of the draws; recall and specificity are drawn independently, as they were measured
            on different films.
    """
    rng = np.random.default_rng(seed)
    recalls, specificities = recall.draws(rng), specificity.draws(rng)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    rows = []
    for prevalence in np.asarray(prevalences, dtype=np.float64).tolist():
        ppv_low, ppv_high = np.quantile(_ppv(recalls, specificities, prevalence), tails)
        npv_low, npv_high = np.quantile(_npv(recalls, specificities, prevalence), tails)
        suspected = prevalence * recall.value + (1 - prevalence) * (1 - specificity.value)
        ppv = _ppv(recall.value, specificity.value, prevalence) if suspected > 0 else None
        npv = _npv(recall.value, specificity.value, prevalence) if suspected < 1 else None
        rows.append(
            AtPrevalence(
                prevalence=prevalence,
                ppv=None if ppv is None else float(ppv),
                ppv_low=float(ppv_low),
                # a rate of exactly 1 is the edge of its own posterior
                ppv_high=float(max(ppv_high, ppv or 0.0)),
                npv=None if npv is None else float(npv),
                npv_low=float(npv_low),
                npv_high=float(max(npv_high, npv or 0.0)),
                suspected=float(suspected),
            )
        )
    return tuple(rows)


def _ppv(recall: Any, specificity: Any, prevalence: float) -> Any:
    right = prevalence * recall
    return right / (right + (1 - prevalence) * (1 - specificity))


def _npv(recall: Any, specificity: Any, prevalence: float) -> Any:
    right = (1 - prevalence) * specificity
    return right / (right + prevalence * (1 - recall))


def prior_shift(before: float, after: float) -> float:
    """By how much log-odds move when the prevalence goes from ``before`` to ``after``."""
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
