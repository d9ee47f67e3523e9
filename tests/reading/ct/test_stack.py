"""Slices in order by where they lie: spacing, gaps, tilt, and what cannot be one volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.header import SPLITTING, SliceHeader
from pneumoseg.reading.ct.stack import Stack, order, projections

SUPINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def header(z: float | None, **changes: Any) -> SliceHeader:
    """A supine slice at height z: 10 mm to the right and 20 mm to the front."""
    values: dict[str, Any] = {
        "path": Path(f"z{z}.dcm"),
        "frame": None,
        "sop_instance_uid": f"1.{z}",
        "shape": (64, 80),
        "position_mm": None if z is None else (-10.0, -20.0, z),
        "orientation": SUPINE,
        "pixel_spacing_mm": (0.8, 0.7),
        "thickness_mm": 2.5,
        "slice_location_mm": None,
        "rescale": (1.0, 0.0),
        "labels": ("",) * len(SPLITTING),
    }
    return SliceHeader(**(values | changes))


def stack(*heights: float, **changes: Any) -> Stack:
    return order([header(z, **changes) for z in heights])


def refusal(*slices: SliceHeader) -> str:
    with pytest.raises(InputError) as caught:
        order(slices)
    return caught.value.code


def heights(found: Stack) -> list[float]:
    return [one.position_mm[2] for one in found.slices if one.position_mm is not None]


def test_the_head_comes_first_whatever_the_order_of_the_files() -> None:
    found = stack(0.0, 10.0, 5.0)
    assert heights(found) == [10.0, 5.0, 0.0]
    assert found.shape == (3, 64, 80) and found.spacing_mm == pytest.approx((5.0, 0.8, 0.7))
    assert found.geometry is not None and found.geometry.slice_offsets_mm is None
    # voxel (2, 1, 3): two slices down, one row back, three columns to the left
    place = found.geometry.affine @ [2, 1, 3, 1]
    assert place == pytest.approx([-10 + 3 * 0.7, -20 + 0.8, 0.0, 1.0])
    assert found.notes == ()


def test_a_slice_that_is_missing_is_told_and_reckoned_across() -> None:
    found = stack(20.0, 15.0, 5.0, 0.0)
    assert found.notes[0].startswith("1 slice is missing among 4 of 5 mm (1 after slice 2,")
    assert found.geometry is not None
    assert found.geometry.slice_offsets_mm == pytest.approx((0.0, 5.0, 15.0, 20.0))


def test_uneven_slices_are_reckoned_one_by_one() -> None:
    found = stack(20.0, 15.0, 7.0, 0.0)
    assert found.notes == (
        "slice spacing varies from 5 to 8 mm: volumes are reckoned slice by slice",
    )


def test_positions_rounded_to_one_decimal_are_even() -> None:
    found = stack(10.0, 9.4, 8.8, 8.1, 7.5)  # of 0.625 mm
    assert found.geometry is not None and found.geometry.slice_offsets_mm is None


def test_a_tilted_gantry_is_noted_and_the_spacing_is_along_the_normal() -> None:
    """Slices turned by 20° about the x axis: 5 mm of the table are 5·cos 20° between planes."""
    angle = np.radians(20.0)
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    found = stack(10.0, 5.0, 0.0, orientation=tilted)
    assert found.spacing_mm is not None
    assert found.spacing_mm[0] == pytest.approx(5 * np.cos(angle), rel=1e-3)
    assert found.notes[0].startswith("gantry tilt of 20.0°")


def test_what_cannot_be_one_volume() -> None:
    top = header(10.0)
    assert refusal(top, header(10.005)) == "mixed-series"  # at the same place
    assert refusal(top, header(5.0, shape=(64, 64))) == "mixed-series"
    assert refusal(top, header(5.0, pixel_spacing_mm=(0.9, 0.7))) == "mixed-series"
    turned = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
    assert refusal(top, header(5.0, orientation=turned)) == "mixed-series"
    beside = replace(header(5.0), position_mm=(-8.0, -20.0, 5.0))
    assert refusal(top, beside, header(0.0)) == "mixed-series"  # 2 mm beside the line


def test_what_cannot_be_ordered_or_is_not_axial() -> None:
    assert refusal(header(10.0), header(None)) == "unordered-series"
    assert refusal(header(10.0, orientation=None)) == "unordered-series"
    skewed = (1.0, 0.0, 0.0, 0.5, 0.8, 0.0)
    assert refusal(header(10.0, orientation=skewed)) == "unordered-series"
    assert refusal(header(10.0, orientation=CORONAL)) == "not-axial"
    assert refusal(header(10.0, orientation=SAGITTAL)) == "not-axial"


def test_locations_stand_in_for_positions_that_are_missing() -> None:
    """SliceLocation grows toward the head; where the slices lie in the patient is not known."""
    found = order([header(None, slice_location_mm=float(z)) for z in (0, 10, 5)])
    assert [one.slice_location_mm for one in found.slices] == [10.0, 5.0, 0.0]
    assert found.notes[0].startswith("ImagePositionPatient is missing")
    assert found.spacing_mm == pytest.approx((5.0, 0.8, 0.7))
    same = [header(None, slice_location_mm=0.0, path=Path(f"{k}")) for k in range(2)]
    assert refusal(*same) == "unordered-series"
    assert projections([header(10.0), header(None, slice_location_mm=5.0)]) is None  # half known


def test_a_single_slice_is_as_thick_as_it_says() -> None:
    found = order([header(10.0)])
    assert found.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    unknown = order([header(10.0, thickness_mm=None)])
    assert unknown.geometry is None and unknown.spacing_mm is None
    assert "its volume is not known" in unknown.notes[0]


def test_without_pixel_spacing_no_size_is_claimed() -> None:
    found = stack(10.0, 5.0, pixel_spacing_mm=None)
    assert found.geometry is None and found.spacing_mm is None
    assert found.notes == ("PixelSpacing is missing: sizes and volumes are not known",)
    assert heights(found) == [10.0, 5.0]
