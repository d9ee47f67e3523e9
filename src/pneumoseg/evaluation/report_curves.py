"""The data of the report's pictures: curves as plain lists, for JSON.

Points that lie on the line between their neighbours are left out of ROC; bins of reliability and of
size carry their n and interval like every other figure.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics
from pneumoseg.evaluation.measured_films import Cases
from pneumoseg.evaluation.report_figures import NO_POSITIVE, measure_figures, share
from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Quantity
from pneumoseg.statistics.froc import Candidates
from pneumoseg.statistics.resampling import Resampler

SIZE_BINS, FEWEST_IN_BIN = 6, 8
"""The size curve has at most so many bins, of so many positive films at least."""
COST_POINTS = 101


def roc_points(cases: Cases) -> dict[str, list[float]] | None:
    """ROC curve: only the corners; None with one class."""
    curve = metrics.roc_curve(cases.probability, cases.label)
    if curve is None:
        return None
    across, up = curve.false_positive_rate, curve.true_positive_rate
    turn = np.diff(across[:-1]) * np.diff(up[1:]) != np.diff(up[:-1]) * np.diff(across[1:])
    kept = np.concatenate(([True], turn, [True]))
    return {"false_positive_rate": across[kept].tolist(), "recall": up[kept].tolist()}


def precision_recall_points(cases: Cases) -> dict[str, list[float]] | None:
    """Precision at every recall, by falling threshold; None without positives."""
    if not cases.label.any():
        return None
    distinct, place = np.unique(cases.probability, return_inverse=True)
    found = np.bincount(place, weights=cases.label, minlength=distinct.size)[::-1].cumsum()
    suspected = np.bincount(place, minlength=distinct.size)[::-1].cumsum()
    gained = np.diff(found, prepend=0.0) > 0  # between them precision only falls
    return {
        "recall": (found[gained] / found[-1]).tolist(),
        "precision": (found[gained] / suspected[gained]).tolist(),
        "threshold": distinct[::-1][gained].tolist(),
    }


def froc_points(cases: Cases) -> dict[str, Any]:
    """FROC curve under each hit rule."""
    curves: dict[str, Any] = {}
    for rule, films in cases.lesions.items():
        candidates = Candidates(films)
        curve = candidates.curve()
        curves[rule] = {
            "true_lesions": int(candidates.lesions.sum()),
            "images": len(films),
            "false_positives_per_image": (
                [] if curve is None else curve.false_positives_per_image.tolist()
            ),
            "sensitivity": [] if curve is None else curve.sensitivity.tolist(),
            "threshold": [] if curve is None else list(curve.thresholds),
        }
    return curves


def reliability_bins(cases: Cases, draws: Resampler) -> list[dict[str, Any]]:
    """Observed share of positives in equal bins of probability, with interval."""
    place = weighted.bin_of(cases.probability)
    members = [place == k for k in np.unique(place)]
    quantities = [share("reliability", "observed", cases.label, inside, "") for inside in members]
    return [
        {"probability": float(cases.probability[inside].mean())} | asdict(figure)
        for inside, (_, figure) in zip(
            members, measure_figures(quantities, cases, draws), strict=True
        )
    ]


def size_bins(cases: Cases, draws: Resampler) -> list[dict[str, Any]]:
    """Recall and lesion Dice of positive films by the share of the film that the truth covers.

    Bins hold equally many positive films, from the smallest lesions to the largest.
    """
    positive = np.flatnonzero(cases.label)
    if not positive.size:
        return []
    count = max(1, min(SIZE_BINS, positive.size // FEWEST_IN_BIN))
    ordered = positive[np.argsort(cases.true_share[positive], kind="stable")]
    quantities, sizes = [], []
    for part in np.array_split(ordered, count):
        inside = np.zeros_like(cases.label)
        inside[part] = True
        covered = cases.true_share[part]
        sizes.append([float(value) for value in (covered.min(), np.median(covered), covered.max())])
        dice = weighted.mean_over(cases.dice, inside)
        quantities.append(share("size", "recall", cases.positive, inside, NO_POSITIVE))
        quantities.append(Quantity("lesion Dice", inside, dice, NO_POSITIVE))
    figures = [asdict(figure) for _, figure in measure_figures(quantities, cases, draws)]
    return [
        {"smallest": low, "median": middle, "largest": high}
        | {"recall": figures[2 * k], "lesion_dice": figures[2 * k + 1]}
        for k, (low, middle, high) in enumerate(sizes)
    ]


def pass_and_cost(cases: Cases) -> dict[str, Any]:
    """Share passing, recall and seconds per image at every threshold.

    Stage one's cost is the mean recorded time of the films that stopped there, stage two's the mean
    of the others minus it; null where the run has films of one kind only or recorded no seconds.
    """
    falling = np.sort(cases.probability)[::-1]
    steps = np.linspace(0, falling.size - 1, min(COST_POINTS, falling.size)).round().astype(int)
    thresholds = np.unique(falling[steps])[::-1]
    passing = [float((cases.probability >= t).mean()) for t in thresholds]
    one, two = stage_seconds(cases)
    return {
        "threshold": thresholds.tolist(),
        "share_passing": passing,
        "recall": [
            float((cases.probability[cases.label] >= t).mean()) if cases.label.any() else None
            for t in thresholds
        ],
        "seconds_stage_one": one,
        "seconds_stage_two": two,
        "seconds_per_image": (
            None if one is None or two is None else [one + part * two for part in passing]
        ),
    }


def stage_seconds(cases: Cases) -> tuple[float | None, float | None]:
    """Mean seconds of stage one, and of stage two on top of it; None where not known."""
    timed = ~np.isnan(cases.seconds)
    stopped, passed = timed & ~cases.segmented, timed & cases.segmented
    if not stopped.any():
        return None, None
    one = float(cases.seconds[stopped].mean())
    return one, float(cases.seconds[passed].mean()) - one if passed.any() else None


def operating_points(
    cases: Cases, thresholds: dict[str, float], decisions: dict[str, NDArray[np.bool_]]
) -> list[dict[str, Any]]:
    """Where each threshold lies on the curves."""
    return [
        {
            "name": name,
            "threshold": threshold,
            "share_passing": float(decisions[name].mean()),
            **metrics.confusion(decisions[name], cases.label).as_dict(),
        }
        for name, threshold in thresholds.items()
    ]
