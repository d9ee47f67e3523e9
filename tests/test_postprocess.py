"""Thresholding, components, areas, scores and sides, on maps small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumoseg.postprocess import find_lesions, patient_side
from pneumoseg.study import Side


def blank(rows: int = 20, cols: int = 30) -> NDArray[np.float32]:
    return np.zeros((rows, cols), dtype=np.float32)


def find(probabilities, threshold=0.5, min_area_px=0.0, spacing_mm=None, orientation=None):
    return find_lesions(
        probabilities,
        threshold=threshold,
        min_area_px=min_area_px,
        spacing_mm=spacing_mm,
        patient_orientation=orientation,
    )


def test_a_pixel_at_the_threshold_is_inside():
    """Breaks if >= becomes >: the card's threshold was calibrated with >=."""
    probabilities = blank()
    probabilities[3, 4] = 0.5
    probabilities[3, 5] = np.nextafter(np.float32(0.5), np.float32(0))
    mask, lesions = find(probabilities)
    assert mask.area_px == 1
    assert mask.pixels[3, 4]
    assert len(lesions) == 1


def test_a_threshold_that_float32_rounds_is_met_by_its_own_value():
    """Breaks if float32 maps are compared with a float64 threshold: 0.7 in a map would be below."""
    mask, _ = find(np.full((4, 4), 0.7, dtype=np.float32), threshold=0.7)
    assert mask.area_px == 16


def test_pixels_that_touch_at_a_corner_are_one_lesion():
    """Breaks with 4-connectivity: an oblique pleural line would fall apart and be dropped."""
    probabilities = blank()
    for i in range(5):
        probabilities[i, i] = 0.9
    _, lesions = find(probabilities, min_area_px=5)
    assert [lesion.mask.area_px for lesion in lesions] == [5]


def test_small_components_leave_mask_and_lesions_alike():
    """Breaks if the united mask keeps what the lesions dropped."""
    probabilities = blank()
    probabilities[0:2, 0:3] = 1.0  # 6 pixels
    probabilities[10, 10:15] = 1.0  # 5 pixels
    mask, lesions = find(probabilities, min_area_px=5.5)
    assert mask.area_px == 6
    assert len(lesions) == 1
    assert not mask.pixels[10].any()
    mask, lesions = find(probabilities, min_area_px=5.0)
    assert mask.area_px == 11
    assert len(lesions) == 2


def test_lesions_are_disjoint_largest_first_and_unite_to_the_mask():
    """Breaks if a lesion takes pixels of another one inside its box."""
    probabilities = blank()
    probabilities[2:12, 2:12] = 0.8  # a ring of 10×10 ...
    probabilities[4:10, 4:10] = 0.0  # ... with a hole of 6×6: 64 pixels
    probabilities[6:8, 6:8] = 0.6  # and 4 pixels in the hole
    mask, lesions = find(probabilities)
    assert [lesion.mask.area_px for lesion in lesions] == [64, 4]
    assert not (lesions[0].mask.pixels & lesions[1].mask.pixels).any()
    assert np.array_equal(lesions[0].mask.pixels | lesions[1].mask.pixels, mask.pixels)
    assert lesions[0].score == pytest.approx(0.8)
    assert lesions[1].score == pytest.approx(0.6)


def test_lesions_of_one_size_come_top_first():
    """Breaks if the order of equal lesions depends on the labelling algorithm."""
    probabilities = blank()
    probabilities[8, 3] = probabilities[2, 25] = probabilities[2, 5] = 1.0
    _, lesions = find(probabilities)
    places = [tuple(int(i[0]) for i in np.nonzero(lesion.mask.pixels)) for lesion in lesions]
    assert places == [(2, 5), (2, 25), (8, 3)]


def test_score_is_the_mean_inside():
    """Breaks if pixels of the box outside the lesion count."""
    probabilities = blank()
    probabilities[5, 5], probabilities[6, 6], probabilities[5, 6] = 0.6, 1.0, 0.2
    _, lesions = find(probabilities)
    assert lesions[0].score == pytest.approx(0.8)


def test_nothing_found_is_an_empty_mask():
    mask, lesions = find(blank(), spacing_mm=(0.2, 0.3))
    assert mask.area_px == 0
    assert mask.spacing_mm == (0.2, 0.3)
    assert lesions == ()


def test_threshold_zero_takes_everything_and_borders_are_kept():
    """Breaks if a border of pixels is lost, as cv2 contours once did."""
    mask, lesions = find(blank(), threshold=0.0)
    assert mask.pixels.all()
    assert len(lesions) == 1


def test_areas_use_both_spacings():
    probabilities = blank()
    probabilities[0:2, 0:5] = 1.0
    mask, lesions = find(probabilities, spacing_mm=(0.5, 0.2))
    assert mask.area_mm2 == pytest.approx(1.0)
    assert lesions[0].mask.area_mm2 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("column", "orientation", "side"),
    [
        (3.0, None, Side.RIGHT),
        (26.0, None, Side.LEFT),
        (3.0, ("L", "F"), Side.RIGHT),
        (3.0, ("R", "F"), Side.LEFT),
        (26.0, ("R", "F"), Side.RIGHT),
        (26.0, ("lf", "f"), Side.LEFT),
        (3.0, ("", ""), Side.RIGHT),
        (3.0, ("A", "F"), None),
        (3.0, ("F", "L"), None),
        (14.5, None, None),
    ],
)
def test_side_is_the_patients_not_the_viewers(column, orientation, side):
    """Breaks if left and right are swapped, or guessed on a lateral film."""
    assert patient_side(column, 30, orientation) is side


def test_side_comes_from_the_lesion_in_the_whole_film():
    """Breaks if the centroid is taken within a crop."""
    probabilities = blank()
    probabilities[0:3, 20:24] = 1.0
    _, lesions = find(probabilities)
    assert lesions[0].side is Side.LEFT


def test_arguments_are_not_written_to():
    probabilities = np.random.default_rng(0).random((30, 30), dtype=np.float32)
    before = probabilities.copy()
    find(probabilities)
    assert np.array_equal(before, probabilities)


@pytest.mark.parametrize(
    "probabilities", [np.zeros((2, 3, 4), np.float32), np.zeros((3, 4), np.float64)]
)
def test_other_arrays_are_refused(probabilities):
    with pytest.raises(ValueError, match="float32 map"):
        find(probabilities)


def test_triplet_rule_empties_a_doubtful_map() -> None:
    """The mask is drawn at the lower threshold, but only where enough pixels reach the higher."""
    probabilities = np.full((4, 6), 0.3, dtype=np.float32)
    probabilities[1, 1:4] = 0.8
    common = {"threshold": 0.2, "min_area_px": 0, "spacing_mm": None, "patient_orientation": None}
    kept, _ = find_lesions(probabilities, **common, top_threshold=0.8, top_min_area_px=3)
    assert kept.area_px == 24
    emptied, lesions = find_lesions(probabilities, **common, top_threshold=0.8, top_min_area_px=3.1)
    assert emptied.area_px == 0
    assert lesions == ()
    for top, area in ((0.0, 100.0), (0.9, 0.0)):  # either at 0 switches the rule off
        mask, _ = find_lesions(probabilities, **common, top_threshold=top, top_min_area_px=area)
        assert mask.area_px == 24
