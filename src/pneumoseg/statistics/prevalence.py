"""The same recall and specificity at another prevalence: PPV and NPV.

A classifier measured where every fifth film is positive and used where one in a hundred is will
mostly be wrong when it suspects. Recall and specificity are properties of the classifier and the
kind of cases; PPV and NPV follow from them and the prevalence by the theorem of Bayes. The same
theorem moves a probability (:func:`pneumoseg.calibration.prior_shift`). Both hold where only the
prevalence differs: positive films look as before, and so do negative ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg.statistics.proportions import JEFFREYS, jeffreys
from pneumoseg.statistics.resampling import TAILS

_DRAWS = 20_000


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
        return rng.beta(found + JEFFREYS, self.n - found + JEFFREYS, size=_DRAWS)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of those values."""
        return jeffreys(self.value * self.n, self.n)


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
    rows = []
    for prevalence in np.asarray(prevalences, dtype=np.float64).tolist():
        ppv_low, ppv_high = np.quantile(_ppv(recalls, specificities, prevalence), TAILS)
        npv_low, npv_high = np.quantile(_npv(recalls, specificities, prevalence), TAILS)
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
