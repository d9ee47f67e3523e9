"""Paired figures: values worked out by hand, what they count, and what is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_films import dim_film, film_arguments, write_films

from pneumoseg.audits.scores import (
    ORIGINAL,
    AuditSettings,
    StageOne,
    score_films,
)
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import LabelledFilm, read_labelled_films
from pneumoseg.preprocess import to_grid
from pneumoseg.statistics.paired import FilmEstimator
from tiny_bundle import write_tiny_bundle

LABEL = np.array([True, True, False, False])

PATIENT = np.array(["a", "a", "b", "c"])


@pytest.fixture
def by_film() -> FilmEstimator:
    return FilmEstimator(LABEL, PATIENT, seed=0, repeats=200)


def test_a_mean_counts_films_positives_and_patients(by_film: FilmEstimator) -> None:
    figure = by_film.mean("x", np.array([1.0, 3.0, 5.0, 7.0]), np.array([True, True, True, False]))
    assert figure.value == pytest.approx(3.0)
    assert (figure.n, figure.n_positive, figure.n_patients) == (3, 2, 2)
    # patients a (1, 3) and b (5) are drawn whole: nothing below 2 or above 5 can come out
    assert (figure.low, figure.high) == (2.0, 5.0)


def test_no_film_gives_a_reason_and_no_value(by_film: FilmEstimator) -> None:
    figure = by_film.mean("x", np.zeros(4), np.zeros(4, dtype=np.bool_))
    assert (figure.value, figure.low, figure.n, figure.reason) == (None, None, 0, "no such film")


def test_auroc_change_and_separability(by_film: FilmEstimator) -> None:
    before = np.array([3.0, 1.0, 2.0, 0.0])  # 3 of 4 pairs in order
    after = np.array([3.0, 2.5, 2.0, 0.0])  # all four
    assert by_film.auroc("x", before).value == 0.75
    assert by_film.auroc_change("x", after, before).value == 0.25
    assert by_film.separability("x", before, before).value == 0.5
    assert by_film.separability("x", before + 10, before).value == 1.0


def brighter(film: LabelledFilm) -> dict[str, np.ndarray]:
    grid, _ = to_grid(film.image)
    return {"brighter": grid + np.uint8(1), "same": grid.copy()}


def test_films_and_copies_are_scored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    films = write_films(tmp_path, {n: (dim_film(rng), n == "a") for n in "abc"})
    stage_one = StageOne.load(write_tiny_bundle(tmp_path / "tiny").folder, threads=1)
    done: list[int] = []
    settings = AuditSettings(**film_arguments(films))  # type: ignore[arg-type]
    scores = score_films(read_labelled_films(settings), stage_one, brighter, done.append)
    assert done == [1, 2, 3]
    assert scores.label.tolist() == [True, False, False]
    assert scores.patient.tolist() == ["p0", "p0", "p1"]
    # one grey level more is 200 / 255 more logit
    rise = scores.logit["brighter"] - scores.logit[ORIGINAL]
    assert rise == pytest.approx(200 / 255, abs=0.01)
    assert scores.change("same").tolist() == [0.0, 0.0, 0.0]


def test_films_of_one_class_are_refused(tmp_path: Path) -> None:
    films = write_films(tmp_path, {"a": (dim_film(np.random.default_rng(0)), True)})
    stage_one = StageOne.load(write_tiny_bundle(tmp_path / "tiny").folder, threads=1)
    settings = AuditSettings(**film_arguments(films))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 positive of 1"):
        score_films(read_labelled_films(settings), stage_one, brighter)


def test_draws_are_checked() -> None:
    with pytest.raises(UsageError, match="seed"):
        AuditSettings(Path("i"), Path("m"), seed=-1)
    with pytest.raises(UsageError, match="repeats"):
        AuditSettings(Path("i"), Path("m"), repeats=0)
