"""One film against its truth: sides, lesions lost on a coarse grid, masks of another grid."""

from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.errors import DataError
from pneumoseg.evaluation.measured_films import measure_cases
from pneumoseg.evaluation.strata import age_band, strata
from pneumoseg.reading.predictions import Prediction

SHAPE = (40, 40)


def _mask(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def _prediction(mask: np.ndarray | None = None, **changes) -> Prediction:
    fields = {
        "image_id": "a",
        "shape": SHAPE,
        "probability": 0.9,
        "positive": True,
        "classifier_threshold": 0.5,
        "segmented": True,
        "bundle": "cxr 1",
        "run_lengths": "-1" if mask is None else rle.encode(mask),
    }
    return Prediction(**(fields | changes))


def _one(truth: np.ndarray, prediction: Prediction, **options):
    return measure_cases([prediction], {"a": [rle.encode(truth)]}, None, **options)


@pytest.mark.parametrize(
    ("orientation", "columns", "side"),
    [
        (None, (2,), "right"),  # the usual display: the patient's right on the viewer's left
        (("L", "F"), (2,), "right"),
        (("R", "F"), (2,), "left"),  # a mirrored film
        (("L", "F"), (30,), "left"),
        (("L", "F"), (2, 30), "both"),
        (("A", "F"), (2,), "unknown"),  # a lateral film
    ],
)
def test_the_side_is_the_patients(orientation, columns, side: str) -> None:
    """Fails if a mirrored film's lesion were counted on the viewer's side."""
    truth = np.any([_mask(3, left, 5, 4) for left in columns], axis=0)
    cases = _one(truth, _prediction(patient_orientation=orientation))
    assert cases.side.tolist() == [side]
    names = {stratum.by: [g.name for g in stratum.groups] for stratum in strata(cases, None)}
    assert names["side"] == [side]


def test_a_lesion_too_small_for_the_films_grid_is_a_miss() -> None:
    """Fails if a positive film whose mask shrank to nothing counted as a perfect empty pair."""
    drawn = np.zeros((160, 160), dtype=bool)
    drawn[8, 8] = True
    cases = measure_cases([_prediction()], {"a": [rle.encode(drawn)]}, None, mask_grid=160)
    assert cases.label.tolist() == [True]
    assert cases.dice.tolist() == [0.0]
    assert cases.side.tolist() == ["unknown"]


def test_shares_and_distances() -> None:
    truth, predicted = _mask(0, 0, 20, 20), _mask(0, 0, 20, 10)
    lone = _one(truth, _prediction(predicted))
    assert (lone.true_share[0], lone.predicted_share[0]) == (400 / 1600, 200 / 1600)
    assert lone.lesions == {}
    assert np.isnan(lone.hd95_mm[0])
    far = _prediction(truth, spacing_mm=(0.5, 2.0), lesions=())
    with pytest.raises(DataError, match="do not unite"):
        _one(truth, far, by_lesion=True)


def test_masks_of_a_coarser_grid_are_noticed() -> None:
    """Fails if masks that fit by chance were scored where they do not lie."""
    coarse = np.zeros((20, 20), dtype=bool)
    coarse[4:9, 3:17] = True
    with pytest.raises(DataError, match="columns of about 20 pixels, not of 40"):
        measure_cases([_prediction()], {"a": [rle.encode(coarse)]}, None)
    # Few runs do not tell; nor do films without a mask.
    coarse[:, 9:] = False
    measure_cases([_prediction()], {"a": [rle.encode(coarse)]}, None)
    measure_cases([_prediction()], {"a": ["-1"]}, None)


def test_a_square_grid_does_not_fit_a_film_that_is_not_square() -> None:
    prediction = _prediction(shape=(40, 30))
    with pytest.raises(DataError, match="is square; give the film at its own proportions"):
        measure_cases([prediction], {"a": ["3 2"]}, None, mask_grid=80)


@pytest.mark.parametrize(
    ("cell", "band"),
    [
        ("17", "0 to 17"),
        ("18", "18 to 39"),
        ("039Y", "18 to 39"),
        ("64.5", "40 to 64"),
        ("120", "65 and over"),
        ("121", "unknown"),
        ("006M", "unknown"),
        ("", "unknown"),
    ],
)
def test_age_bands(cell: str, band: str) -> None:
    """Fails if an age in months or a typing error of 413 years were counted as years."""
    assert age_band(cell) == band


def test_size_bounds_belong_to_the_larger_group() -> None:
    ids = ("a", "b", "c")
    truth = {
        "a": [rle.encode(_mask(0, 0, 1, 7))],  # 7 of 1,600: 0.44 %
        "b": [rle.encode(_mask(0, 0, 1, 8))],  # 0.50 %
        "c": [rle.encode(_mask(0, 0, 3, 7))],  # 1.31 %
    }
    cases = measure_cases([_prediction(image_id=name) for name in ids], truth, None)
    size = strata(cases, None)[0]
    assert {g.name: g.member.tolist() for g in size.groups} == {
        "small": [True, False, False],
        "medium": [False, True, False],
        "large": [False, False, True],
    }


def test_columns_of_the_table(tmp_path: Path) -> None:
    """Fails if a film without a row fell out, or a missing column were invented."""
    cases = measure_cases([_prediction(), _prediction(image_id="b")], {"a": ["-1"], "b": ["-1"]},
                          None)  # fmt: skip
    found = {s.by: s for s in strata(cases, {"a": {"Sex": "F", "age": "44"}})}
    assert [g.name for g in found["sex"].groups] == ["F", "unknown"]
    assert [g.name for g in found["age"].groups] == ["40 to 64", "unknown"]
    assert found["view"].reason == "the table has no view"
