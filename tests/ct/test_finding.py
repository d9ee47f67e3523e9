"""The finding of a volume: its sums, and the same with whole masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.lesions import VolumeLesion
from pneumoseg.study import Detection, Provenance, Side, Source

SHAPE = (5, 8, 8)


def lesion(box: tuple[slice, slice, slice], side: Side | None, **more: Any) -> VolumeLesion:
    inside = np.ones([part.stop - part.start for part in box], dtype=np.bool_)
    known = {"volume_ml": 2.0, "greatest_thickness_mm": 9.0} | more
    return VolumeLesion(box, inside, 0.75, side, **known)


LARGE = lesion(np.s_[1:4, 0:2, 0:2], Side.RIGHT)
SMALL = lesion(np.s_[3:5, 6:8, 6:7], Side.LEFT, volume_ml=0.5, greatest_thickness_mm=11.0)


def finding(*lesions: VolumeLesion, **more: Any) -> VolumeFinding:
    values: dict[str, Any] = {
        "source": Source("a"),
        "shape": SHAPE,
        "spacing_mm": (1.0, 1.0, 1.0),
        "geometry": None,
        "sop_instance_uids": None,
        "detection": Detection(1.0, 0.7, 0.5),
        "slice_probabilities": np.full(5, 0.7),
        "segmented": np.ones(5, dtype=np.bool_),
        "lesions": lesions,
        "hemithorax_shares": {Side.RIGHT: 0.1, Side.LEFT: 0.3},
        "provenance": Provenance("", "", "", "", ""),
        "seconds": 1.0,
    }
    return VolumeFinding(**(values | more))


def test_sums_over_the_lesions() -> None:
    found = finding(LARGE, SMALL)
    assert found.volume_ml == 2.5
    assert found.voxels == 12 + 4
    assert found.side == "both"
    assert found.share_of_hemithorax == 0.3
    assert found.greatest_thickness_mm == 11.0
    assert (found.first_slice, found.last_slice) == (1, 4)


def test_without_a_lesion_there_is_no_place_and_no_volume() -> None:
    found = finding(hemithorax_shares={})
    assert found.volume_ml == 0.0 and found.voxels == 0
    assert found.side is None and found.share_of_hemithorax is None
    assert found.greatest_thickness_mm is None
    assert found.first_slice is None and found.last_slice is None


def test_without_a_spacing_no_size_is_claimed() -> None:
    """Breaks if an unknown volume is shown as 0 mL."""
    unknown = lesion(LARGE.box, None, volume_ml=None, greatest_thickness_mm=None)
    found = finding(unknown, spacing_mm=None)
    assert found.volume_ml is None and found.greatest_thickness_mm is None
    assert found.side is None


def test_one_side_is_that_side_even_beside_a_lesion_between_both() -> None:
    assert finding(LARGE, lesion(SMALL.box, None)).side == "right"


def test_whole_masks_unite_to_the_mask() -> None:
    whole = finding(LARGE, SMALL).as_finding()
    assert whole.mask is not None and whole.shape == SHAPE
    assert [part.mask.area_px for part in whole.lesions] == [12, 4]
    assert whole.mask.area_px == 16
    assert whole.mask.volume_ml == pytest.approx(0.016)  # of 1 mm³ voxels
    assert whole.lesions[1].mask.pixels[3:5, 6:8, 6].all()
    assert whole.lesions[0].score == 0.75 and whole.lesions[0].side is Side.RIGHT


def test_no_mask_is_not_an_empty_mask() -> None:
    not_run = finding(segmented=np.zeros(5, dtype=np.bool_)).as_finding()
    assert not_run.mask is None
    run = finding(segmented=np.array([False, True, False, False, False])).as_finding()
    assert run.mask is not None and run.mask.area_px == 0
