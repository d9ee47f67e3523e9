"""Estimates of films and of what changed in them, film by film.

Pairing takes the differences between films out of a comparison, so that a few hundred films show a
change of a hundredth. Films that an estimate is not over are not drawn either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Estimate, Quantity, estimator
from pneumoseg.statistics.resampling import WeightedStatistic, Weights

NO_FILM = "no such film"
BOTH_CLASSES = "needs positive and negative films"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FilmEstimator:
    """Makes estimates of films, one by one.

    Attributes:
        label: bool (n,), whether each film is positive.
        patient: (n,), whose films are resampled together.
        seed: of the resamples, the same for every estimate.
        repeats: number of resamples.
    """

    label: Bools
    patient: NDArray[np.str_]
    seed: int
    repeats: int

    def mean(self, name: str, values: Floats, over: Bools | None = None) -> Estimate:
        """Mean of one value per film (n,)."""
        return self._estimate(
            name, lambda i: weighted.mean_over(values[i], np.ones(i.size, dtype=np.bool_)), over
        )

    def ratio(self, name: str, above: Floats, below: Floats, over: Bools | None = None) -> Estimate:
        """Quotient of two sums over films, each (n,)."""
        return self._estimate(name, lambda i: weighted.ratio(above[i], below[i]), over)

    def by_index(
        self,
        name: str,
        statistic: Callable[[NDArray[np.int64]], float | None],
        over: Bools | None = None,
        reason: str = NO_FILM,
    ) -> Estimate:
        """A figure that is given the films' indices, each as often as it was drawn."""
        return self._estimate(
            name, lambda i: weighted.by_index(lambda drawn: statistic(i[drawn])), over, reason
        )

    def auroc(self, name: str, values: Floats, over: Bools | None = None) -> Estimate:
        """AUROC of one value per film (n,)."""
        return self._estimate(
            name, lambda i: weighted.auroc(values[i], self.label[i]), over, BOTH_CLASSES
        )

    def auroc_change(self, name: str, after: Floats, before: Floats) -> Estimate:
        """Difference of two AUROCs of the same films."""
        new, old = (weighted.auroc(values, self.label) for values in (after, before))
        return self._estimate(name, lambda _: weighted.difference(new, old), None, BOTH_CLASSES)

    def separability(self, name: str, after: Floats, before: Floats) -> Estimate:
        """AUROC of changed against unchanged films by a value: 0.5 cannot separate them."""
        pooled = weighted.auroc(
            np.concatenate([before, after]), np.repeat([False, True], after.size)
        )

        def statistic(weights: Weights) -> Floats:
            return pooled(np.concatenate([weights, weights], axis=1))

        return self._estimate(name, lambda _: statistic)

    def _estimate(
        self,
        name: str,
        statistic_of: Callable[[NDArray[np.int64]], WeightedStatistic],
        over: Bools | None = None,
        reason: str = NO_FILM,
    ) -> Estimate:
        """One estimate over some films, all when None: they alone are drawn."""
        chosen = np.arange(self.label.size) if over is None else np.flatnonzero(over)
        if not chosen.size:
            return Estimate(name, None, None, None, 0, 0, 0, "patient", reason)
        by_film = estimator(
            self.label[chosen], self.patient[chosen], seed=self.seed, repeats=self.repeats
        )
        everyone = np.ones(chosen.size, dtype=np.bool_)
        return by_film.estimates([Quantity(name, everyone, statistic_of(chosen), reason)])[0]
