"""The smallest pneumothorax that is seen, and the true lesions that a size filter removes.

The chance that a pneumothorax is seen is fitted as a logistic
curve of the logarithm of the true area; where the curve crosses 50 % and 95 % is the limit of
detection, as laboratories state it (probit and logit analysis: Finney 1947; CLSI EP17). Nothing is
read off the curve beyond the sizes that were there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from pneumoseg.statistics.logistic import fit_ridge
from pneumoseg.statistics.resampling import TAILS

RECALLS = (0.5, 0.95)
"""Chances of being seen whose size is reported."""
FEWEST_FILMS = 10
"""Positive films without which no curve is fitted."""
_RIDGE = 0.01
"""Pull of the slope towards 0, worth a hundredth of a film: keeps a perfectly parted set finite."""
_FREE = 1e-9

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SizeLimit:
    """The area at which a pneumothorax is seen with some chance.

    ``area`` is None where the curve does not cross that chance within the sizes that were there;
    ``reason`` then says why. ``low`` and ``high`` bound the bootstrap 95 % interval by patient,
    None where it reaches beyond the sizes that were there.
    """

    recall: float
    unit: str
    area: float | None
    low: float | None
    high: float | None
    n: int
    n_patients: int
    reason: str


@dataclass(frozen=True)
class SeenSizes:
    """Which sizes were seen: the extremes, the fitted curve (intercept, slope on log2), limits."""

    unit: str
    smallest_seen: float | None
    largest_missed: float | None
    intercept: float | None
    slope: float | None
    limits: tuple[SizeLimit, ...]


def seen_sizes(
    area: Floats,
    seen: Bools,
    patient: NDArray[np.str_],
    unit: str,
    rng: np.random.Generator,
    repeats: int,
) -> SeenSizes:
    """Measure which sizes were seen.

    Args:
        area: (n,) true area of each positive film, above 0.
        seen: (n,) bool, whether it is seen
            (:data:`pneumoseg.operating_point.joint_search.SEEN_DICE`).
        patient: (n,) whose films are resampled together.
        unit: of the area, for the report.
        rng: source of the resamples.
        repeats: number of resamples.
    """
    reason = ""
    if area.size < FEWEST_FILMS:
        reason = f"{area.size} films are too few, {FEWEST_FILMS} are needed"
    elif seen.all() or not seen.any():
        reason = f"{'all' if seen.all() else 'none'} of the {area.size} films were seen"
    names, member = np.unique(patient, return_inverse=True)
    curve = None
    crossings = {recall: np.full(1 + repeats, np.nan) for recall in RECALLS}
    if not reason:
        drawn = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=repeats)
        weights = np.concatenate([np.ones((1, area.size)), drawn[:, member]])
        curves = _fit(np.log2(area), seen, weights)  # (1 + repeats, 2)
        curve = curves[0]
        crossings = {recall: _crossing(curves, recall) for recall in RECALLS}
    return SeenSizes(
        unit=unit,
        smallest_seen=float(area[seen].min()) if seen.any() else None,
        largest_missed=float(area[~seen].max()) if not seen.all() else None,
        intercept=None if curve is None else float(curve[0]),
        slope=None if curve is None else float(curve[1]),
        limits=tuple(
            _limit(recall, found, area, unit, names.size, reason)
            for recall, found in crossings.items()
        ),
    )


def _fit(x: Floats, seen: Bools, weights: Floats) -> Floats:
    """Intercept and slope for each set of weights: x (n,), weights (r, n) to (r, 2)."""
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)  # (n, 2)
    curves = fit_ridge(design, seen, np.array([_FREE, _RIDGE]), weights)
    curves[:, 0] -= curves[:, 1] * x.mean()  # back to the intercept at log2(area) = 0
    return curves


def _crossing(curves: Floats, recall: float) -> Floats:
    """log2 of the area where each curve reaches a chance; infinite where it never rises to it."""
    rising = curves[:, 1] > 1e-6
    slope = np.where(rising, curves[:, 1], 1.0)
    return np.where(rising, (logit(recall) - curves[:, 0]) / slope, np.inf)


def _limit(
    recall: float, crossings: Floats, area: Floats, unit: str, patients: int, reason: str
) -> SizeLimit:
    """One limit; what lies beyond the sizes that were there is not stated."""
    value = low = high = None
    if not reason:
        ends = np.quantile(crossings[1:], TAILS, method="nearest")
        value = _within(crossings[0], area)
        low, high = (_within(end, area) for end in ends)
        if value is None:
            if not np.isfinite(crossings[0]):
                reason = "larger ones are seen no more often than small ones"
            elif crossings[0] < np.log2(area.min()):
                reason = "already the smallest that was there is seen more often"
            else:
                reason = "not even the largest that was there is seen so often"
    return SizeLimit(recall, unit, value, low, high, area.size, patients, reason)


def _within(crossing: float, area: Floats) -> float | None:
    """The area of a crossing, None outside the sizes that were there."""
    inside = np.log2(area.min()) <= crossing <= np.log2(area.max())
    return float(2.0**crossing) if inside else None


@dataclass(frozen=True)
class Removed:
    """True lesions that a filter on size alone would remove, were the masks perfect."""

    smallest_kept: int
    lesions: int
    of_lesions: int
    films: int
    of_films: int


def removed_by_size(true_lesions: Sequence[tuple[int, ...]], smallest_kept: int) -> Removed:
    """Count true components below a size, and the positive films that lose all of them.

    Args:
        true_lesions: areas of the true components of each positive film, grid pixels.
        smallest_kept: components of fewer pixels are dropped.
    """
    lesions = [area for areas in true_lesions for area in areas]
    return Removed(
        smallest_kept=smallest_kept,
        lesions=sum(area < smallest_kept for area in lesions),
        of_lesions=len(lesions),
        films=sum(all(area < smallest_kept for area in areas) for areas in true_lesions),
        of_films=len(true_lesions),
    )


def removed_by_triplet_rule(true_lesions: Sequence[tuple[int, ...]], needed: int) -> Removed:
    """Count positive films (and their components) whose whole truth is below the rule's area."""
    emptied = [areas for areas in true_lesions if sum(areas) < needed]
    return Removed(
        smallest_kept=needed,
        lesions=sum(map(len, emptied)),
        of_lesions=sum(map(len, true_lesions)),
        films=len(emptied),
        of_films=len(true_lesions),
    )
