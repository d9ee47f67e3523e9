"""The origin confound: how well mere traces of the file separate groups of films.

A ridge logistic regression on :mod:`pneumoseg.doctor.traces`, cross-validated by
patient. Separating the sides of a split *within one label* is possible only by origin (or by who
is examined there), not by the disease; where the sides also differ in prevalence, a network that
learns the origin looks as if it knew the disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Estimate, Quantity, estimator
from pneumoseg.statistics.folds import folds_by_patient
from pneumoseg.statistics.logistic import fit_ridge

FOLDS = 5
RIDGE = 1.0
"""Penalty on the squared weights of standardised traces; keeps separable groups finite."""
FEWEST = 30
"""Films each of the two groups must have."""
REPEATS = 200
"""Bootstrap resamples of each AUROC."""
_FREE = 1e-6
"""Penalty on the bias, next to none."""


@dataclass(frozen=True, eq=False)
class TracedFilm:
    """What is known of one film: traces, patient, label (None where unknown), side (or None)."""

    traces: NDArray[np.float64]
    patient: str
    label: bool | None
    side: str | None


@dataclass(frozen=True)
class TraceFigure:
    """How well traces separate two groups."""

    question: str
    """What is separated from what, among which films."""
    target: str
    """``side`` or ``label``."""
    figure: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"question": self.question, "target": self.target} | asdict(self.figure)


def trace_figures(
    films: Sequence[TracedFilm], sides: tuple[str, str] | None, seed: int
) -> tuple[TraceFigure, ...]:
    """Measure how well traces separate the sides, and the labels.

    Args:
        films: all films.
        sides: the two sides of the split, or None where there is none.
        seed: of folds and bootstrap.

    Returns:
        a figure for each question that has at least ``FEWEST`` films in both groups: sides among
        the positives, among the negatives; labels among all films and on each side.
    """
    known = [film for film in films if film.label is not None]
    comparisons: list[tuple[str, str, list[TracedFilm], list[bool]]] = []
    if sides is not None:
        for label, word in ((True, "positive"), (False, "negative")):
            among = [f for f in known if f.label is label and f.side in sides]
            question = f"{sides[0]} from {sides[1]}, among {word} films"
            comparisons.append((question, "side", among, [f.side == sides[0] for f in among]))
    groups = [("all films", known)]
    groups += [(f"{s} alone", [f for f in known if f.side == s]) for s in sides or ()]
    for name, among in groups:
        question = f"positive from negative films, {name}"
        comparisons.append((question, "label", among, [bool(f.label) for f in among]))
    figures = []
    for question, target, among, truth in comparisons:
        truth_array = np.array(truth, dtype=np.bool_)
        if min(truth_array.sum(), (~truth_array).sum()) >= FEWEST:
            figures.append(TraceFigure(question, target, _figure(among, truth_array, seed)))
    return tuple(figures)


def _figure(films: list[TracedFilm], truth: NDArray[np.bool_], seed: int) -> Estimate:
    patients = np.array([film.patient for film in films])
    rng = np.random.default_rng(seed)
    scores = out_of_fold_scores(np.stack([f.traces for f in films]), truth, patients, rng)
    over, name = np.ones_like(truth), "AUROC of the traces"
    traces = Quantity(name, over, weighted.auroc(scores, truth))
    return estimator(truth, patients, seed=rng, repeats=REPEATS).estimates([traces])[0]


def out_of_fold_scores(
    traces: NDArray[np.float64],
    truth: NDArray[np.bool_],
    patients: NDArray[np.str_],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Score every film by a regression that has not seen its patient.

    Args:
        traces: (n, k) finite.
        truth: (n,) bool.
        patients: (n,) names.
        rng: splits the patients into folds.

    Returns:
        (n,) log-odds.
    """
    fold = folds_by_patient(patients, rng, FOLDS)
    scores = np.zeros(truth.size)
    ridge = np.array([_FREE, *[RIDGE] * traces.shape[1]])
    for held_out in range(FOLDS):
        inside = fold != held_out
        mean, spread = traces[inside].mean(axis=0), traces[inside].std(axis=0)
        spread[spread < 1e-9] = np.inf  # a trace that never varies separates nothing
        standard = (traces - mean) / spread
        design = np.column_stack((np.ones(truth.size), standard))
        weights = fit_ridge(design[inside], truth[inside], ridge)[0]
        scores[~inside] = design[~inside] @ weights
    return scores
