"""Lesions matched and the FROC curve drawn by hand."""

import numpy as np
import pytest

from pneumoseg.statistics.froc import (
    ANY_OVERLAP,
    IOU,
    Candidates,
    FilmLesions,
    label_lesions,
    match_lesions,
    overlaps,
)


def _box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((12, 12), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    assert label_lesions(_box(0, 0, 2, 2) | _box(2, 2, 2, 2))[0] == 1
    assert label_lesions(_box(0, 0, 2, 2) | _box(3, 3, 2, 2))[0] == 2
    assert label_lesions(np.zeros((3, 3), dtype=bool))[0] == 0


def test_both_rules_by_hand() -> None:
    """Fails if a grazing outline counted as a hit under IoU, or as a false positive under overlap.

    Truth: a 4×4 and a 2×2 box. Outlines: one sharing 1 pixel of 16 with the first (IoU 1/31), one
    equal to the second, one in the void.
    """
    count, labels = label_lesions(_box(0, 0, 4, 4) | _box(8, 8, 2, 2))
    outlines = [_box(3, 3, 4, 4), _box(8, 8, 2, 2), _box(8, 0, 2, 2)]
    shared, iou = overlaps(labels, count, outlines)
    assert shared.tolist() == [[1, 0], [0, 4], [0, 0]]
    assert iou[0, 0] == pytest.approx(1 / 31)
    scores = (0.7, 0.4, 0.9)
    any_overlap = match_lesions(shared, iou, scores, ANY_OVERLAP)
    assert any_overlap == FilmLesions((0.7, 0.4), (0.9,))
    assert match_lesions(shared, iou, scores, IOU) == FilmLesions((None, 0.4), (0.7, 0.9))


def test_the_best_of_two_hits_counts_and_neither_is_false() -> None:
    count, labels = label_lesions(_box(0, 0, 4, 4))
    shared, iou = overlaps(labels, count, [_box(0, 0, 2, 4), _box(2, 0, 2, 4)])
    assert match_lesions(shared, iou, (0.3, 0.6), IOU) == FilmLesions((0.6,), ())
    nothing = match_lesions(*overlaps(labels, count, []), (), IOU)
    assert nothing == FilmLesions((None,), ())


FILMS = [
    FilmLesions((0.9, None), (0.8,)),
    FilmLesions((0.5,), ()),
    FilmLesions((), (0.8, 0.2)),
    FilmLesions((), ()),
]
"""Down the scores: 0.9 hit; 0.8 two false; 0.5 hit; 0.2 false. Three lesions, four films."""


def test_the_curve_by_hand() -> None:
    curve = Candidates(FILMS).curve()
    assert curve is not None
    assert curve.false_positives_per_image.tolist() == [0, 0, 0.5, 0.5, 0.75]
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.thresholds == (None, 0.9, 0.8, 0.5, 0.2)


@pytest.mark.parametrize(("rate", "sensitivity"), [(0.1, 1 / 3), (0.5, 2 / 3), (8.0, 2 / 3)])
def test_read_at_a_rate(rate: float, sensitivity: float) -> None:
    """Fails if two equal scores were cut apart (at 0.1) or a short curve were prolonged (at 8)."""
    candidates = Candidates(FILMS)
    ones = np.ones((1, 4))
    assert candidates.sensitivity_at(rate)(ones)[0] == pytest.approx(sensitivity)


def test_a_film_counts_as_often_as_it_was_drawn() -> None:
    weights = np.array([[2.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    first, second = Candidates(FILMS).sensitivity_at(0.8)(weights)
    assert first == pytest.approx(2 / 4)  # 2 of 4 lesions; 3 false positives in 4 films
    assert np.isnan(second)  # no lesion drawn


def test_without_lesions_there_is_no_curve() -> None:
    assert Candidates([FilmLesions((), (0.4,))]).curve() is None
    silent = Candidates([FilmLesions((None,), ())])
    assert silent.sensitivity_at(1.0)(np.ones((1, 1)))[0] == 0.0
    assert silent.curve().sensitivity.tolist() == [0.0]
