"""Traces of the file tell origins apart where there are any, and nothing where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from noise_films import noise_film

from pneumoseg.doctor.groups import Group, prevalence_findings
from pneumoseg.doctor.origin import TracedFilm, TraceFigure, out_of_fold_scores, trace_figures
from pneumoseg.doctor.traces import measure_traces
from pneumoseg.metrics import auroc
from pneumoseg.statistics.proportions import wilson

SIDES = ("old", "new")


def planted(*, compressed: bool) -> list[TracedFilm]:
    """Old films mostly positive, new ones mostly negative; old ones compressed, or none."""
    films = []
    for k in range(200):
        old = k % 2 == 0
        label = k // 2 % 20 < (13 if old else 7)
        pixels = noise_film(k, compressed=compressed and old)
        films.append(TracedFilm(measure_traces(pixels, 5000), f"p{k}", label, SIDES[not old]))
    return films


@pytest.fixture(scope="module")
def traced() -> tuple[TraceFigure, ...]:
    return trace_figures(planted(compressed=True), SIDES, seed=0)


def test_a_compression_of_one_side_is_found(traced: tuple[TraceFigure, ...]) -> None:
    sides = [f for f in traced if f.target == "side"]
    assert [f.figure.n for f in sides] == [100, 100]
    assert all((f.figure.low or 0) > 0.9 for f in sides)


def test_no_history_no_confound() -> None:
    films = [f for f in planted(compressed=False) if f.label is not None]
    for figure in trace_figures(films, SIDES, seed=0):
        assert figure.figure.low is not None
        assert figure.figure.low < 0.5


def test_patients_are_never_in_both_folds() -> None:
    """Two films of a patient are alike: scored by its own patient, noise would look predictable."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(60), 4)
    traces = rng.normal(size=(60, 30))[patients]
    truth = rng.random(60)[patients] < 0.5
    scores = out_of_fold_scores(traces, truth, patients.astype(str), rng)
    assert 0.25 < (auroc(scores, truth) or 0) < 0.75


def test_too_few_films_give_no_figure() -> None:
    assert trace_figures(planted(compressed=False)[:40], SIDES, seed=0) == ()


def test_the_confound_needs_a_difference_in_prevalence_and_a_trace(
    traced: tuple[TraceFigure, ...],
) -> None:
    def group(value: str, positive: int) -> Group:
        low, high = wilson(positive, 100)
        return Group("split", value, 100, 100, positive, 100, positive / 100, low, high)

    apart, alike = [group("old", 90), group("new", 20)], [group("old", 50), group("new", 48)]
    codes = [
        [f.code for f in prevalence_findings(g, "split", SIDES, t)]
        for g, t in ((apart, traced), (apart, ()), (alike, ()))
    ]
    assert codes[0][0] == "origin-confound"
    assert codes[1:] == [["prevalence-by-origin"], []]
