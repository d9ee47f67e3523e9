"""Traces of the file tell origins apart where there are any, and nothing where there are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pneumoseg.doctor.groups import Group, prevalence_findings
from pneumoseg.doctor.origin import Film, TraceFigure, out_of_fold_scores, trace_figures
from pneumoseg.doctor.traces import TRACE_NAMES, measure_traces
from pneumoseg.metrics import auroc
from pneumoseg.statistics.proportions import wilson

SIDES = ("old", "new")


def noise_film(seed: int, *, compressed: bool) -> np.ndarray:
    """Smoothed noise, once through JPEG or not: nothing but the history differs."""
    rng = np.random.default_rng(seed)
    film = cv2.GaussianBlur(rng.random((96, 96)).astype(np.float32), (0, 0), 1.2)
    film = np.clip((film - film.mean()) * 1.5 + 0.5, 0, 1)
    grey = np.rint(film * 255).astype(np.uint8)
    if compressed:
        grey = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0)
    return grey.astype(np.float32) / 255


def planted(*, compressed: bool) -> list[Film]:
    """Old films mostly positive, new ones mostly negative; old ones compressed, or none."""
    films = []
    for k in range(200):
        old = k % 2 == 0
        label = k // 2 % 20 < (13 if old else 7)
        pixels = noise_film(k, compressed=compressed and old)
        films.append(Film(measure_traces(pixels, 5000), f"p{k}", label, SIDES[not old]))
    return films


def test_every_trace_has_a_name_and_is_finite() -> None:
    traces = measure_traces(noise_film(0, compressed=False), 5000)
    assert traces.shape == (len(TRACE_NAMES),)
    assert np.isfinite(traces).all()
    assert np.isfinite(measure_traces(np.zeros((64, 64), np.float32), 1)).all()


def test_blocks_keep_their_place_in_large_films() -> None:
    """The window of a large film begins at a multiple of 8, or the blocks would be missed."""
    film = np.tile(noise_film(3, compressed=True), (8, 8))[:760, :744]
    shifted = np.ascontiguousarray(film[3:, 5:])
    places = [i for i, name in enumerate(TRACE_NAMES) if name.startswith("share below 0.5")]
    aligned, moved = measure_traces(film, 1)[places], measure_traces(shifted, 1)[places]
    assert aligned.mean() > moved.mean() + 0.2


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


def test_wilson_interval_by_hand() -> None:
    """Brown, Cai and DasGupta 2001: 0 of 10 gives 0 to 0.2775, 5 of 10 gives 0.2366 to 0.7634."""
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
