"""The joint search: against brute force, its constraint, and that no fold judges itself."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from pneumoseg.errors import DataError, UsageError
from pneumoseg.operating_point.joint_search import (
    NO_GATE,
    Aim,
    Constraint,
    ScoredFilms,
    Space,
    apply_choice,
    gate_threshold,
    nested_search,
    outer_folds,
)
from pneumoseg.operating_point.outline_tables import OutlineTables

MEASURED = Constraint(certified=False)


def drawn_films(n: int = 120, seed: int = 0) -> ScoredFilms:
    """Two films a patient, a third of them positive; small tables whose sums can be redone."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n // 2), 2)
    label = patient % 3 == 0
    truth_area = np.where(label, rng.integers(100, 5000, n), 0).astype(float)
    bottoms, smallest, rules = (0.2, 0.5), (0, 300), ((0.0, 0), (0.3, 400), (0.6, 200))
    full = np.where(label, truth_area * rng.uniform(0.5, 1.5, n), rng.integers(0, 900, n))
    area = full[:, None, None] * np.array([1.0, 0.6])[None, :, None]
    area = np.where(area >= np.array(smallest)[None, None, :], area, 0.0)
    overlap = np.minimum(area, truth_area[:, None, None]) * 0.8
    tables = OutlineTables(
        bottoms=bottoms,
        min_pixels=smallest,
        rules=rules,
        area=area,
        overlap=overlap,
        passes=np.stack([np.ones(n, bool), full * 0.9 >= 400, full * 0.5 >= 200], axis=1),
        truth_area=truth_area,
        true_lesions=tuple((int(a),) if a else () for a in truth_area),
        label=label,
    )
    probability = 1 / (1 + np.exp(-(rng.normal(0, 1, n) + 2.5 * label - 1)))
    names = np.array([f"p{k}" for k in patient])
    return ScoredFilms(tables, probability, label, names, label & (truth_area < 2600))


def brute_force(films: ScoredFilms, fold: np.ndarray, aim: Aim) -> tuple[float, float]:
    """The best inner score of the aim, film by film: without a gate, so that nothing is fitted."""
    tables, scores = films.tables, []
    for r, b, s in itertools.product(range(3), range(2), range(2)):
        if tables.rules[r][0] and tables.rules[r][0] < tables.bottoms[b]:
            continue
        dices, alarms = [], 0
        for i in range(len(films.label)):
            area = tables.area[i, b, s] if tables.passes[i, r] else 0.0
            overlap = tables.overlap[i, b, s] if area else 0.0
            if films.label[i]:
                dices.append(2 * overlap / (area + tables.truth_area[i]))
            else:
                alarms += area > 0
        n_negative = int((~films.label).sum())
        mean = (sum(dices) + n_negative - alarms) / len(films.label)
        scores.append((mean if aim is Aim.LEADERBOARD else np.mean(dices), (r, b, s)))
    return max(scores, key=lambda row: row[0])


def test_the_choice_is_the_best_of_all_by_brute_force() -> None:
    films = drawn_films()
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0))
    constraint = dataclasses.replace(MEASURED, dice_tolerance=0.0, small_kept=0.0)
    for aim in Aim:
        final = nested_search(films, fold, aim, constraint, Space((NO_GATE,))).final
        best, place = brute_force(films, fold, aim)
        assert (final.rule, final.bottom, final.smallest) == place
        outcome = apply_choice(films, final)
        reached = outcome.dice if aim is Aim.LEADERBOARD else outcome.dice[films.label]
        assert reached.mean() == pytest.approx(best)


def test_an_outer_fold_has_no_say_in_its_own_operating_point() -> None:
    """Spoil everything about one fold's films: the choice that judges them must not move."""
    films = drawn_films()
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0))
    held_out = fold == 2
    spoilt = dataclasses.replace(
        films,
        probability=np.where(held_out, 1 - films.probability, films.probability),
        tables=dataclasses.replace(
            films.tables,
            overlap=np.where(held_out[:, None, None], 0.0, films.tables.overlap),
            passes=films.tables.passes ^ (held_out[:, None] & np.array([False, True, True])),
        ),
    )
    for aim in Aim:
        before = nested_search(films, fold, aim, MEASURED)
        after = nested_search(spoilt, fold, aim, MEASURED)
        assert before.folds[2] == after.folds[2]
        assert not np.array_equal(before.outcome.dice[held_out], after.outcome.dice[held_out])


def test_patients_are_never_parted() -> None:
    films = drawn_films()
    fold = outer_folds(films.label, films.patient, np.random.default_rng(1))
    for name in np.unique(films.patient):
        assert len(set(fold[films.patient == name].tolist())) == 1
    with pytest.raises(DataError, match="30 folds"):
        outer_folds(films.label, films.patient, np.random.default_rng(1), 30)


def test_the_gate_meets_the_recall_by_patient() -> None:
    """Twenty positive patients: at 0.90 two may be missed; half of that one; and none."""
    films = drawn_films()
    everyone = np.ones(120, bool)
    constraint = Constraint(recall=0.9, certified=False)
    lowest = np.sort(
        [films.probability[films.patient == p].min() for p in np.unique(films.patient[films.label])]
    )
    assert lowest.size == 20
    for share, misses in ((1.0, 2), (0.5, 1), (0.0, 0)):
        threshold = gate_threshold(films, everyone, share, constraint, final=True)
        assert (lowest < threshold).sum() == misses
    assert gate_threshold(films, everyone, NO_GATE, constraint, final=True) == 0.0


def test_a_certificate_needs_patients() -> None:
    films = drawn_films()
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"16 patients .* 59 are needed"):
        nested_search(films, fold, Aim.CLINICAL, Constraint())
    many = drawn_films(3 * 2 * 80)
    fold = outer_folds(many.label, many.patient, np.random.default_rng(0))
    found = nested_search(many, fold, Aim.CLINICAL, Constraint(), Space((1.0,)))
    positive = np.unique(many.patient[many.label])
    lowest = np.array([many.probability[many.patient == p].min() for p in positive])
    assert positive.size == 80
    assert (lowest >= found.final.config.classifier_threshold).all()  # 80 allow no miss


def test_small_lesions_are_kept_for_the_clinical_aim_alone() -> None:
    """The larger min_pixels raises every mean and loses every small lesion."""
    films = drawn_films()
    tables = films.tables
    area = tables.area.copy()
    area[films.small, :, 1] = 0.0
    area[~films.label, :, 1] = 0.0
    big = films.label & ~films.small
    overlap = tables.overlap.copy()
    overlap[films.small, :, 1] = 0.0
    overlap[big, :, 0] = 0.0
    area[big, :, 1] = tables.truth_area[big, None]
    overlap[big, :, 1] = tables.truth_area[big, None]
    films = dataclasses.replace(
        films, tables=dataclasses.replace(tables, area=area, overlap=overlap)
    )
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0))
    clinical = nested_search(films, fold, Aim.CLINICAL, MEASURED).final
    leader = nested_search(films, fold, Aim.LEADERBOARD, MEASURED).final
    assert clinical.config.min_pixels == 0
    assert leader.config.min_pixels == 300


def test_within_the_tolerance_fewer_false_outlines_win() -> None:
    films = drawn_films()
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0))
    marks = []
    for tolerance in (0.0, 1.0):
        constraint = dataclasses.replace(MEASURED, dice_tolerance=tolerance, small_kept=0.0)
        choice = nested_search(films, fold, Aim.CLINICAL, constraint).final
        marks.append(apply_choice(films, choice).marked[~films.label].sum())
    assert marks[1] < marks[0]


def test_wrong_constraints_are_refused() -> None:
    with pytest.raises(UsageError, match="recall"):
        Constraint(recall=1.0)
    with pytest.raises(UsageError, match="small_kept"):
        Constraint(small_kept=1.5)
