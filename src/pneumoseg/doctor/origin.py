"""The origin confound: how well mere traces of the file tell groups of films apart.

A ridge logistic regression on :mod:`pneumoseg.doctor.traces`, cross-validated by
patient. Telling the sides of a split apart *within one label* is possible only by origin (or by who
is examined there), not by the disease; where the sides also differ in prevalence, a network that
learns the origin looks as if it knew the disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics
from pneumoseg.metrics import Figure

FOLDS = 5
RIDGE = 1.0
"""Penalty on the squared weights of standardised traces; keeps separable groups finite."""
FEWEST = 30
"""Films each of the two groups must have."""
REPEATS = 200
"""Bootstrap resamples of each AUROC."""
_STEPS = 15
_SMALLEST_CURVATURE = 1e-4


@dataclass(frozen=True, eq=False)
class Film:
    """What is asked of one film: traces, patient, label (None where unknown), side (or None)."""

    traces: NDArray[np.float64]
    patient: str
    label: bool | None
    side: str | None


@dataclass(frozen=True)
class TraceFigure:
    """How well traces tell two groups apart."""

    question: str
    """What is told from what, among which films."""
    target: str
    """``side`` or ``label``."""
    figure: Figure

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"question": self.question, "target": self.target} | asdict(self.figure)


def trace_figures(
    films: Sequence[Film], sides: tuple[str, str] | None, seed: int
) -> tuple[TraceFigure, ...]:
    """Measure how well traces tell the sides apart, and the labels.

    Args:
        films: all films.
        sides: the two sides of the split, or None where there is none.
        seed: of folds and bootstrap.

    Returns:
        a figure for each question that has at least ``FEWEST`` films in both groups: sides among
        the positives, among the negatives; labels among all films and on each side.
    """
    known = [film for film in films if film.label is not None]
    asked: list[tuple[str, str, list[Film], list[bool]]] = []
    if sides is not None:
        for label, word in ((True, "positive"), (False, "negative")):
            among = [f for f in known if f.label is label and f.side in sides]
            question = f"{sides[0]} from {sides[1]}, among {word} films"
            asked.append((question, "side", among, [f.side == sides[0] for f in among]))
    groups = [("all films", known)]
    groups += [(f"{s} alone", [f for f in known if f.side == s]) for s in sides or ()]
    for name, among in groups:
        question = f"positive from negative films, {name}"
        asked.append((question, "label", among, [bool(f.label) for f in among]))
    figures = []
    for question, target, among, truth in asked:
        truth_array = np.array(truth, dtype=np.bool_)
        if min(truth_array.sum(), (~truth_array).sum()) >= FEWEST:
            figures.append(TraceFigure(question, target, _figure(among, truth_array, seed)))
    return tuple(figures)


def _figure(films: list[Film], truth: NDArray[np.bool_], seed: int) -> Figure:
    patients = np.array([film.patient for film in films])
    rng = np.random.default_rng(seed)
    scores = out_of_fold_scores(np.stack([f.traces for f in films]), truth, patients, rng)
    interval = metrics.bootstrap_by_patient(
        lambda i: metrics.auroc(scores[i], truth[i]), patients, rng, REPEATS
    )
    return Figure(
        name="AUROC of the traces",
        value=metrics.auroc(scores, truth),
        low=interval.low,
        high=interval.high,
        n=truth.size,
        n_positive=int(truth.sum()),
        n_patients=int(np.unique(patients).size),
        unit="patient",
    )


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
        rng: deals the patients to folds.

    Returns:
        (n,) log-odds.
    """
    names, member = np.unique(patients, return_inverse=True)
    fold = rng.permutation(np.arange(names.size) % FOLDS)[member]
    scores = np.zeros(truth.size)
    for held_out in range(FOLDS):
        inside = fold != held_out
        mean, spread = traces[inside].mean(axis=0), traces[inside].std(axis=0)
        spread[spread < 1e-9] = np.inf  # a trace that never varies says nothing
        standard = (traces - mean) / spread
        weights = _fit(np.column_stack((np.ones(inside.sum()), standard[inside])), truth[inside])
        scores[~inside] = weights[0] + standard[~inside] @ weights[1:]
    return scores


def _fit(design: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Ridge logistic regression by Newton's method (Hastie et al. 2009, 4.4.1); bias free."""
    weights = np.zeros(design.shape[1])
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0] = 1e-6
    for _ in range(_STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        curvature = np.maximum(probability * (1 - probability), _SMALLEST_CURVATURE)
        gradient = design.T @ (truth - probability) - penalty * weights
        hessian = (design * curvature[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-6:
            break
    return np.asarray(weights, dtype=np.float64)
