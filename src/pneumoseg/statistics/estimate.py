"""A measured number as it is shown: its value, its interval, what it counts, and that in words.

One way for all that measures: a quantity is a weighted statistic and the images it is over; an
:class:`Estimator` makes its value, its bootstrap 95 % interval by patient, and its counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.statistics import weighted
from pneumoseg.statistics.proportions import clopper_pearson
from pneumoseg.statistics.resampling import (
    BOOTSTRAP_REPEATS,
    Resampler,
    WeightedStatistic,
    resampler,
)

Bools = NDArray[np.bool_]

CELLS = ("value", "95 % interval", "n", "positive", "patients")
"""Headers of :meth:`Estimate.cells`."""
NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class Estimate:
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

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Estimate:
        """Read one back from JSON; keys that stand beside its own are left alone."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def negated(self) -> Estimate:
        """The same with the other sign: a difference seen from the other side."""
        turned = [None if end is None else -end for end in (self.value, self.high, self.low)]
        return replace(self, value=turned[0], low=turned[1], high=turned[2])

    def value_in_words(self, digits: int = 3, *, signed: bool = False) -> str:
        """The value, or why there is none."""
        if self.value is None:
            return self.reason or "not defined"
        return _number(self.value, digits, signed)

    def interval_in_words(self, digits: int = 3, *, signed: bool = False) -> str:
        """The interval alone: ``0.897 to 0.958``."""
        if self.low is None or self.high is None:
            return NO_INTERVAL
        return f"{_number(self.low, digits, signed)} to {_number(self.high, digits, signed)}"

    def in_words(self, digits: int = 3, *, signed: bool = False) -> str:
        """A value with its interval: ``0.930 (0.897 to 0.958)``."""
        if self.value is None:
            return self.value_in_words()
        value = self.value_in_words(digits, signed=signed)
        return f"{value} ({self.interval_in_words(digits, signed=signed)})"

    def with_n(self) -> str:
        """The same in a sentence: ``0.930 (0.897 to 0.958), n = 200``."""
        return f"{self.in_words()}, n = {self.n}"

    def counts_in_words(self) -> str:
        """What it is over: ``n = 200, 40 positive``."""
        return f"n = {self.n}, {self.n_positive} positive"

    def cells(self) -> tuple[str, str, str, str, str]:
        """Its row in a table, see :data:`CELLS`."""
        interval = "-" if self.low is None or self.high is None else self.interval_in_words()
        patients = "unknown" if self.n_patients is None else str(self.n_patients)
        return self.value_in_words(), interval, str(self.n), str(self.n_positive), patients


def _number(value: float, digits: int, signed: bool) -> str:
    if not signed:
        return f"{value:.{digits}f}"
    # Rounded before the zero is added: no difference is +0.000, never -0.000.
    return f"{round(value, digits) + 0.0:+.{digits}f}"


@dataclass(frozen=True, eq=False)
class Quantity:
    """What is to be estimated.

    Attributes:
        name: what it is called.
        over: (n,) images it is taken over, for its n.
        statistic: of weights.
        reason: why it has no value, where it has none.
        proportion: whether it is a share of images that are either so or not.
        group: heading it stands under in a report.
    """

    name: str
    over: Bools
    statistic: WeightedStatistic
    reason: str = ""
    proportion: bool = False
    group: str = ""


@dataclass(frozen=True, eq=False)
class Estimator:
    """Makes estimates over the same images; made by :func:`estimator`.

    Attributes:
        label: (n,) whether each image is positive.
        patient: (n,) whose images are counted as one patient's; None where unknown.
        draws: which images are resampled together, and how often.
    """

    label: Bools
    patient: NDArray[Any] | None
    draws: Resampler

    def estimates(self, quantities: Sequence[Quantity]) -> list[Estimate]:
        """Estimate quantities, all on one draw of patients.

        Where all images of a share are alike every resample gives the same, and the bootstrap would
        claim certainty. The exact interval of as many patients (Clopper and Pearson 1934) stands in
        its place.
        """
        keyed = {str(place): each.statistic for place, each in enumerate(quantities)}
        intervals = self.draws.intervals(keyed)
        found = []
        for place, each in enumerate(quantities):
            value, interval = (
                weighted.once(each.statistic, self.label.size),
                intervals[str(place)],
            )
            n, patients = int(each.over.sum()), self._patients(each.over)
            low, high = interval.low, interval.high
            if each.proportion and value in (0.0, 1.0):
                units = n if patients is None else patients
                low, high = clopper_pearson(round(value * units), units)
            found.append(
                Estimate(
                    name=each.name,
                    value=value,
                    low=None if value is None else low,
                    high=None if value is None else high,
                    n=n,
                    n_positive=int((each.over & self.label).sum()),
                    n_patients=patients,
                    unit=self.draws.unit,
                    reason=each.reason if value is None else "",
                )
            )
        return found

    def _patients(self, over: Bools) -> int | None:
        return None if self.patient is None else int(np.unique(self.patient[over]).size)


def estimator(
    label: Bools,
    patient: NDArray[Any] | None,
    *,
    seed: int | np.random.Generator = 0,
    repeats: int = BOOTSTRAP_REPEATS,
) -> Estimator:
    """Set up estimates by patient, or by image where patients are not known."""
    return Estimator(label, patient, resampler(patient, label.size, seed=seed, repeats=repeats))
