"""The search for stage two's threshold and smallest lesion, by hand on tiny maps."""

import numpy as np
import pytest

from pneumoseg.errors import DataError
from pneumoseg.statistics.segmenter_search import SegmenterCase, choose_segmenter_operating_point


def _case(values: list[list[float]], truth: list[list[int]], suspected: bool = True):
    return SegmenterCase(np.array(values, np.float32), np.array(truth, np.bool_), suspected)


def _film_with_a_speck() -> SegmenterCase:
    """A lesion of three certain pixels and one doubtful one, and a speck that is none."""
    return _case(
        [[0.9, 0.9, 0.9, 0.4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.8]],
        [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]],
    )


def _points(cases: list[SegmenterCase], thresholds: list[float], smallest: list[int]) -> dict:
    search = choose_segmenter_operating_point(iter(cases), thresholds, smallest)
    return {(p.threshold, p.min_pixels): p for p in search.points} | {"search": search}


def test_dice_of_every_point_by_hand() -> None:
    """Fails if the speck were not dropped at two pixels, or the threshold not applied."""
    points = _points([_film_with_a_speck()], [0.3, 0.5], [0, 2])
    assert points[0.3, 0].lesion_dice == pytest.approx(2 * 4 / (5 + 4))
    assert points[0.5, 0].lesion_dice == pytest.approx(2 * 3 / (4 + 4))
    assert points[0.3, 2].lesion_dice == 1.0
    assert points[0.5, 2].lesion_dice == pytest.approx(2 * 3 / (3 + 4))
    assert points["search"].best == points[0.3, 2]


def test_alarms_misses_and_the_unsuspected_are_counted() -> None:
    """Fails if an unsuspected lesion were left out of the mean, or its map looked at."""
    lesion = [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
    nothing = [[0] * 6] * 2
    alarm = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.9, 0.9, 0.0, 0.0, 0.0, 0.0]]
    cases = [
        _film_with_a_speck(),
        _case(_film_with_a_speck().probabilities.tolist(), lesion, suspected=False),
        _case(alarm, nothing),
        _case([[0.0] * 6] * 2, nothing),
        _case(alarm, nothing, suspected=False),
    ]
    points = _points(cases, [0.3], [2, 3, 5])
    search = points["search"]
    assert (search.n, search.n_positive, search.n_suspected_negative) == (5, 2, 2)
    assert points[0.3, 2].lesion_dice == pytest.approx(0.5)
    assert points[0.3, 2].false_positive_rate == 0.5
    assert points[0.3, 2].missed_rate == 0.5
    assert points[0.3, 2].siim_mean_dice == pytest.approx((1 + 0 + 0 + 1 + 1) / 5)
    assert points[0.3, 3].false_positive_rate == 0.0
    assert points[0.3, 3].siim_mean_dice == pytest.approx((1 + 0 + 1 + 1 + 1) / 5)
    assert points[0.3, 5].missed_rate == 1.0
    # 2 and 3 tie on lesion Dice: the larger smallest lesion raises fewer alarms.
    assert search.best == points[0.3, 3]


def test_ties_go_to_the_threshold_nearest_the_seed() -> None:
    case = _case([[0.9, 0.0]], [[1, 0]])
    search = choose_segmenter_operating_point([case], [0.1, 0.45, 0.8], [0])
    assert search.best.threshold == 0.45
    assert search.best.false_positive_rate is None


def test_corner_neighbours_are_one_lesion() -> None:
    """Fails with 4-connectivity: a diagonal line would fall apart into single pixels."""
    case = _case(np.eye(4).tolist(), np.eye(4).astype(int).tolist())
    search = choose_segmenter_operating_point([case], [0.5], [4])
    assert search.best.lesion_dice == 1.0


def test_no_lesion_or_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 1 calibration images has a lesion"):
        choose_segmenter_operating_point([_case([[0.1]], [[0]])])
    with pytest.raises(DataError, match="to try"):
        choose_segmenter_operating_point([_case([[0.1]], [[1]])], [], [0])
    with pytest.raises(ValueError, match="differ in shape"):
        choose_segmenter_operating_point([_case([[0.1]], [[1, 0]])])
