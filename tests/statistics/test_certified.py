"""Certified recall: the numbers of the tables, the unit, and the guarantee itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark_script import benchmark
from pneumoseg.errors import DataError, UsageError
from pneumoseg.statistics.certified import certify_recall, judge_recall, just_below
from pneumoseg.statistics.proportions import clopper_pearson_lower
from pneumoseg.statistics.recall_bounds import (
    allowed_misses,
    fewest_positives,
)

simulation = benchmark("certified_recall")


@pytest.mark.parametrize(("misses", "fewest"), [(0, 59), (1, 93), (2, 124), (3, 153), (18, 530)])
def test_fewest_positives_for_95_percent(misses: int, fewest: int) -> None:
    """0.95**59 = 0.0485 but 0.95**58 = 0.0511: the well-known 59, and its neighbours."""
    assert fewest_positives(misses) == fewest
    assert clopper_pearson_lower(fewest - misses, fewest) >= 0.95
    assert clopper_pearson_lower(fewest - 1 - misses, fewest - 1) < 0.95


@pytest.mark.parametrize(("n", "misses"), [(59, 0), (160, 3), (534, 18)])
def test_pairs_that_certify_95_percent(n: int, misses: int) -> None:
    assert allowed_misses(n) == misses
    assert clopper_pearson_lower(n - misses, n) >= 0.95
    assert clopper_pearson_lower(n - misses - 1, n) < 0.95


def test_bound_by_hand() -> None:
    """Without a miss the bound is 0.05 ** (1 / n); nothing found bounds nothing."""
    assert clopper_pearson_lower(10, 10) == pytest.approx(0.05**0.1)
    assert clopper_pearson_lower(0, 10) == 0.0
    with pytest.raises(ValueError, match="11 of 10"):
        clopper_pearson_lower(11, 10)


def test_bound_agrees_with_scipy_s_exact_interval() -> None:
    two_sided = stats.binomtest(53, 58).proportion_ci(0.9, method="exact")
    assert clopper_pearson_lower(53, 58) == pytest.approx(two_sided.low, abs=1e-9)


def test_allowed_misses_is_the_largest() -> None:
    for n in range(1, 700):
        k = allowed_misses(n)
        if k is None:
            assert n < 59
        else:
            assert fewest_positives(k) <= n < fewest_positives(k + 1)


def test_a_patient_counts_by_the_worst_film() -> None:
    """93 patients with two films each: one may be missed, the threshold is the second lowest."""
    patient = np.repeat(np.arange(93), 2)
    probability = np.where(np.arange(186) % 2 == 0, 0.9, 0.2 + 0.005 * patient)
    found = certify_recall(probability, np.ones(186, bool), patient)
    assert (found.n_units, found.n_images, found.allowed_misses, found.missed) == (93, 186, 1, 1)
    assert found.threshold == pytest.approx((0.205 + 0.2) / 2)
    assert found.certified
    assert found.specificity is None
    assert "1 of 93 missed, 1 allowed" in found.claim


def test_ties_only_help() -> None:
    """The three lowest are equal: at their value none is missed, though one would be allowed."""
    probability = np.concatenate([np.full(3, 0.1), np.full(90, 0.8), np.full(7, 0.05)])
    label = np.arange(100) < 93
    found = certify_recall(probability, label, None)
    assert found.threshold == pytest.approx(0.075)
    assert (found.missed, found.allowed_misses) == (0, 1)
    assert found.specificity == 1.0


def test_too_few_say_how_many_more() -> None:
    found = certify_recall(np.full(58, 0.9), np.ones(58, bool), None)
    assert not found.certified
    assert found.threshold is None
    assert found.more_units_needed == 1
    assert found.lower_bound == pytest.approx(0.05 ** (1 / 58))
    assert "1 more needed" in found.claim


def test_a_fixed_threshold_is_judged() -> None:
    probability = np.concatenate([np.full(3, 0.1), np.full(97, 0.9)])
    found = judge_recall(probability, np.ones(100, bool), np.arange(100), 0.5)
    assert (found.missed, found.recall) == (3, 0.97)
    assert found.more_units_needed == 153 - 100
    assert found.more_at_this_rate is not None
    total = 100 + found.more_at_this_rate
    assert allowed_misses(total) >= np.ceil(0.03 * total - 1e-9)
    assert judge_recall(probability, np.ones(100, bool), None, 0.05).certified
    worse = judge_recall(np.r_[np.zeros(6), np.ones(94)], np.ones(100, bool), None, 0.5)
    assert worse.more_at_this_rate is None
    assert "no number will do" in worse.claim


def test_a_printed_threshold_can_be_given_back() -> None:
    """Rounded to the nearest it would be 0.666667, above a score that must be found."""
    threshold = just_below(2 / 3, np.array([2 / 3, 0.666666]))
    assert threshold == 0.666666
    assert float(f"{threshold:.6g}") == threshold
    assert just_below(0.2, np.array([0.2, 0.1])) == pytest.approx(0.15, rel=1e-9)
    assert just_below(0.0, np.array([0.0, 0.1])) == 0.0


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 2"):
        certify_recall([0.1, 0.2], [False, False], None)
    with pytest.raises(UsageError, match="recall"):
        certify_recall([0.1], [True], None, target=1.0)
    with pytest.raises(DataError, match="finite"):
        certify_recall([np.nan], [True], None)


def test_true_recalls_of_the_simulation_agree_with_counting() -> None:
    """The quadrature is what the guarantee is held against: check it on a million patients."""
    scores = simulation.draw_scores(1, 1_000_000, np.random.default_rng(5))[0]
    for threshold in (-2.0, -1.0):
        counted = (scores.min(axis=1) >= threshold).mean()
        assert simulation.patient_recall(np.array([threshold]))[0] == pytest.approx(
            counted, abs=0.002
        )
        films = scores[np.isfinite(scores)]
        counted = (films >= threshold).mean()
        assert simulation.film_recall(np.array([threshold]))[0] == pytest.approx(counted, abs=0.002)


def test_the_benchmark_leaves_its_figures_and_their_picture(tmp_path: Path) -> None:
    simulation.main(["--draws", "50", "--out", str(tmp_path / "sim")])
    content = json.loads((tmp_path / "sim" / "simulation.json").read_text())
    assert {row["rule"] for row in content["shortfalls"]} == {
        "certified", "films as units", "measured",
    }  # fmt: skip
    assert len(content["shortfalls"]) == 12
    assert (tmp_path / "sim" / "simulation.png").is_file()


def test_the_guarantee_holds_over_many_draws() -> None:
    """True recall falls short in at most 5 % of the draws, as often as theory says, and not less:
    a rule that never fell short would ask for too much.
    """
    draws = 4000
    found = simulation.simulate_certificate(draws, np.random.default_rng(1))
    for row in found:
        if row.rule == simulation.CERTIFIED:
            k = allowed_misses(row.patients)
            theory = stats.binom.cdf(k, row.patients, 0.05)
            assert theory <= 0.05
            error = np.sqrt(theory * (1 - theory) / draws)
            assert abs(row.share - theory) < 4 * error
    share = {(row.rule, row.patients): row.share for row in found}
    assert (
        share[simulation.MEASURED, 160] > 0.4
    )  # the threshold everyone uses fails every other time
    assert share[simulation.FILMS_AS_UNITS, 534] > 0.06  # films of one patient are not independent


def test_the_function_itself_keeps_its_word_with_ties_and_several_films() -> None:
    """The same by calling the public function, on coarse scores whose true recall is known."""
    rng = np.random.default_rng(3)
    level = np.arange(1, 41) / 40  # a patient's score is one of forty values
    weight = level / level.sum()
    short = 0
    draws = 400
    for _ in range(draws):
        score = rng.choice(level, size=124, p=weight)
        films = rng.integers(1, 4, size=124)
        patient = np.repeat(np.arange(124), films)
        probability = np.repeat(score, films)
        threshold = certify_recall(probability, np.ones(patient.size, bool), patient).threshold
        short += weight[level >= threshold].sum() < 0.95
    assert short / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
