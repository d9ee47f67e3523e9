"""Bootstrap by patient for many figures at once: one draw of patients serves them all.

A resample is how often each image counts: a row of whole numbers. Every figure is computed for many
rows together (:mod:`pneumoseg.statistics.weighted`), so that a hundred figures of ten thousand
films take seconds. The same seed gives the same intervals.

Images of one patient are alike; resampling images as if they were independent makes intervals too
narrow (cluster bootstrap: Davison and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Every interval of the project is a 95 % interval."""
TAILS = ((1.0 - CONFIDENCE) / 2.0, 1.0 - (1.0 - CONFIDENCE) / 2.0)
"""Where it ends, as quantiles."""
BOOTSTRAP_REPEATS = 1000
FEWEST_DEFINED = 0.5
"""Share of the resamples that must define a figure for its percentiles to mean anything."""
CHUNK_BYTES = 64 * 2**20
"""Room for the weights of the resamples that are computed together."""

Weights = NDArray[np.float64]
"""(resamples, images): how often each image was drawn."""
WeightedStatistic = Callable[[Weights], NDArray[np.float64]]
"""A figure of every resample, (resamples,); NaN where it is not defined."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval; both ends None where too few resamples define the figure."""

    low: float | None
    high: float | None
    unit: str
    """What was resampled: ``"patient"``, or ``"image"`` where patients are not known."""


@dataclass(frozen=True, eq=False)
class Resampler:
    """Which images belong together, and the draws.

    Attributes:
        member: (n,) number of the patient of each image, from 0.
        units: number of patients.
        unit: ``patient``, or ``image`` where patients are not known.
        seed: of the draws, the same in every call; or a generator, which every call takes on.
        repeats: number of resamples.
    """

    member: NDArray[np.int64]
    units: int
    unit: str
    seed: int | np.random.Generator
    repeats: int

    def chunks(self) -> Iterator[Weights]:
        """Draw all resamples, some at a time."""
        rng = np.random.default_rng(self.seed)
        at_once = max(1, CHUNK_BYTES // (8 * self.member.size))
        for start in range(0, self.repeats, at_once):
            count = min(at_once, self.repeats - start)
            times = np.stack(
                [
                    np.bincount(rng.integers(self.units, size=self.units), minlength=self.units)
                    for _ in range(count)
                ]
            )  # (count, units)
            yield times[:, self.member].astype(np.float64)  # (count, n)

    def intervals(self, statistics: Mapping[str, WeightedStatistic]) -> dict[str, Interval]:
        """Percentile 95 % interval of every statistic, all on the same resamples.

        Resamples in which a figure is not defined are left out; where they are more than half, both
        ends are None.
        """
        values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
        for weights in self.chunks():
            for name, statistic in statistics.items():
                values[name].append(statistic(weights))
        return {name: self._interval(np.concatenate(found)) for name, found in values.items()}

    def _interval(self, values: NDArray[np.float64]) -> Interval:
        defined = values[~np.isnan(values)]
        if defined.size < FEWEST_DEFINED * self.repeats:
            return Interval(None, None, self.unit)
        low, high = np.quantile(defined, TAILS)
        return Interval(float(low), float(high), self.unit)


def resampler(
    patient: ArrayLike | None,
    n: int,
    *,
    seed: int | np.random.Generator = 0,
    repeats: int = BOOTSTRAP_REPEATS,
) -> Resampler:
    """Set up the draws.

    Args:
        patient: (n,) a name or number per image, equal for images of one patient; None where
            unknown: then images are drawn.
        n: number of images.
        seed: of the draws.
        repeats: number of resamples.

    Raises:
        ValueError: no images, fewer than one resample, or not one patient per image.
    """
    if n < 1 or repeats < 1:
        raise ValueError(f"nothing to resample: {n} images, {repeats} repeats")
    if patient is None:
        return Resampler(np.arange(n), n, "image", seed, repeats)
    names, member = np.unique(np.asarray(patient), return_inverse=True)
    if member.shape != (n,):
        raise ValueError(f"expected one patient for each of {n} images, got {member.shape}")
    return Resampler(member.astype(np.int64), names.size, "patient", seed, repeats)
