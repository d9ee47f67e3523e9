"""Estimates film by film, on six films of four patients."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.statistics.paired import BOTH_CLASSES, NO_FILM, FilmEstimator

LABEL = np.array([True, True, False, False, False, True])
PATIENT = np.array(["a", "a", "b", "c", "c", "d"])
FILMS = FilmEstimator(LABEL, PATIENT, seed=1, repeats=300)


def test_a_mean_over_some_films_counts_those_alone() -> None:
    over = np.array([True, True, True, False, False, False])
    found = FILMS.mean("x", np.array([1.0, 2.0, 6.0, 9.0, 9.0, 9.0]), over)
    assert (found.value, found.n, found.n_positive, found.n_patients) == (3.0, 3, 2, 2)
    assert found.low is not None and found.high is not None
    assert 1.5 <= found.low <= 3.0 <= found.high <= 6.0  # patient a alone to patient b alone


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    above, below = np.array([1.0, 1, 1, 1, 1, 1]), np.array([1.0, 1, 1, 1, 1, 7])
    assert FILMS.ratio("x", above, below).value == pytest.approx(6 / 12)


def test_a_change_of_auroc_by_hand() -> None:
    """Before, every positive is above every negative; after, one of three is below all three."""
    before = np.where(LABEL, 1.0, 0.0)
    after = before.copy()
    after[5] = -1.0
    found = FILMS.auroc_change("change", after, before)
    assert found.value == pytest.approx(2 / 3 - 1)
    assert found.n == 6


def test_what_did_not_change_cannot_be_separated() -> None:
    values = np.arange(6.0)
    assert FILMS.separability("same", values, values).value == 0.5
    assert FILMS.separability("moved", values + 10, values).value == 1.0


def test_a_figure_by_index_sees_films_of_the_whole_set() -> None:
    over = np.array([False, False, False, True, True, True])
    values = np.array([0.0, 0, 0, 3, 4, 8])
    found = FILMS.by_index("x", lambda i: float(values[i].sum()), over)
    assert found.value == 15.0


def test_no_film_and_one_class_have_their_reasons() -> None:
    none = np.zeros(6, np.bool_)
    nothing = FILMS.mean("x", np.zeros(6), none)
    assert (nothing.value, nothing.reason) == (None, NO_FILM)
    one_class = FILMS.auroc("x", np.arange(6.0), LABEL)
    assert (one_class.value, one_class.reason) == (None, BOTH_CLASSES)
