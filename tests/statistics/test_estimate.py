"""A figure in words and in a table, its interval, and what it counts: by hand."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import CELLS, Estimate, Quantity, estimator
from pneumoseg.statistics.resampling import resampler

AREA = Estimate("AUROC", 0.93, 0.8974, 0.958, 200, 40, 180, "patient")
NOTHING = Estimate("PPV", None, None, None, 0, 0, None, "image", "no image was suspected")


def test_a_figure_in_words() -> None:
    assert AREA.in_words() == "0.930 (0.897 to 0.958)"
    assert AREA.in_words(2) == "0.93 (0.90 to 0.96)"
    assert AREA.with_n() == "0.930 (0.897 to 0.958), n = 200"
    assert AREA.counts_in_words() == "n = 200, 40 positive"
    assert NOTHING.in_words() == "no image was suspected"
    bare = Estimate("x", 0.5, None, None, 3, 1, None, "image")
    assert bare.in_words() == "0.500 (no interval)"


def test_a_difference_has_a_sign_and_no_negative_nothing() -> None:
    gain = Estimate("gain", -0.0001, -0.02, 0.01, 9, 9, 9, "patient")
    assert gain.in_words(signed=True) == "+0.000 (-0.020 to +0.010)"
    assert gain.negated().in_words(signed=True) == "+0.000 (-0.010 to +0.020)"
    assert NOTHING.negated() == NOTHING


def test_a_row_of_a_table() -> None:
    assert AREA.cells() == ("0.930", "0.897 to 0.958", "200", "40", "180")
    assert NOTHING.cells() == ("no image was suspected", "-", "0", "0", "unknown")
    assert len(CELLS) == len(AREA.cells())


def test_a_record_is_read_back_whatever_stands_beside_it() -> None:
    assert Estimate.of_record({"group": "main"} | asdict(AREA)) == AREA


def test_counts_are_over_the_images_of_each_quantity() -> None:
    label, patient = np.array([True, True, False, False]), np.array(["a", "a", "b", "c"])
    everything = np.ones(4, dtype=bool)
    recall = Quantity("recall", label, weighted.mean_over([1, 0, 0, 0], label))
    mean = Quantity("mean", everything, weighted.mean_over([1, 2, 3, 4], everything))
    first, second = estimator(label, patient, seed=1, repeats=50).estimates([recall, mean])
    assert (first.value, first.n, first.n_positive, first.n_patients) == (0.5, 2, 2, 1)
    assert (second.value, second.n, second.n_positive, second.n_patients) == (2.5, 4, 2, 3)
    alone = estimator(label, patient, seed=1, repeats=50).estimates([mean])[0]
    assert alone == second, "what is asked beside it must not move a figure"


def test_a_share_of_all_has_the_exact_interval_of_its_patients() -> None:
    """Two patients, all found: the lower end is 0.025 to the power of one half."""
    label, everything = np.ones(4, dtype=bool), np.ones(4, dtype=bool)
    quantity = Quantity("recall", everything, weighted.mean_over(label, label), "", True)
    found = estimator(label, np.array(["a", "a", "b", "b"]), repeats=20).estimates([quantity])[0]
    assert (found.low, found.high) == (pytest.approx(0.025**0.5), 1.0)


def test_a_generator_goes_on_and_a_seed_begins_again() -> None:
    everything = np.ones(30, dtype=bool)
    statistic = {"mean": weighted.mean_over(np.arange(30.0), everything)}
    seeded = resampler(None, 30, seed=3, repeats=40)
    assert seeded.intervals(statistic) == seeded.intervals(statistic)
    going = resampler(None, 30, seed=np.random.default_rng(3), repeats=40)
    assert going.intervals(statistic) == seeded.intervals(statistic)
    assert going.intervals(statistic) != seeded.intervals(statistic)
