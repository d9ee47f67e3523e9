"""Which predictions are evaluated, and that they are of one cascade."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pneumoseg.errors import DataError
from pneumoseg.evaluation.cases import one_operating_point, volumes_of, with_truth
from pneumoseg.reading.predictions import Prediction

ONE = Prediction("a", (4, 4), 0.5, True, 0.35, True, "tiny 1", "-1")
TWO = replace(ONE, image_id="b")


def kept(truth: dict[str, list[str]], *, allow_missing: bool = False) -> list[str]:
    path = Path("masks.csv")
    found = with_truth([ONE, TWO], truth, masks_path=path, allow_missing=allow_missing)
    return [one.image_id for one in found]


def test_truth_without_a_prediction_is_no_trouble_here() -> None:
    assert kept({"b": ["-1"], "a": ["-1"], "c": ["-1"]}) == ["a", "b"]


def test_a_prediction_without_truth_is_left_out_only_when_told() -> None:
    """Breaks if films drop out of the figures in silence."""
    with pytest.raises(DataError, match=r"1 of 2 predicted images have no row .*first is a"):
        kept({"b": ["-1"]})
    assert kept({"b": ["-1"]}, allow_missing=True) == ["b"]


@pytest.mark.parametrize("allow_missing", [True, False])
def test_no_image_in_common_is_always_an_error(allow_missing: bool) -> None:
    with pytest.raises(DataError, match="none of the 2 predicted images"):
        kept({"c": ["-1"]}, allow_missing=allow_missing)


def test_two_thresholds_or_bundles_are_no_cascade() -> None:
    assert one_operating_point([ONE, TWO]) == (0.35, "tiny 1")
    for other in (replace(TWO, classifier_threshold=0.4), replace(TWO, bundle="tiny 2")):
        with pytest.raises(DataError, match="one of each was expected"):
            one_operating_point([ONE, other])


def test_slices_are_grouped_by_volume_and_films_stand_for_themselves() -> None:
    assert volumes_of([ONE, TWO]) is None
    slices = [replace(ONE, volume_id="v"), replace(TWO, volume_id="v")]
    assert volumes_of(slices) == {"a": "v", "b": "v"}
