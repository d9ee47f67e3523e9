"""What a header says of its slices, and what is left aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ct_files
import numpy as np
import pytest
from pydicom.dataset import Dataset

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.header import CAPTURE, LOCALIZER, REPORT, SPLITTING, CtFile, read_header

PIXELS = np.zeros((64, 80), np.int16)


def read(folder: Path, dataset: Dataset) -> CtFile:
    path = ct_files.write(folder / "a.dcm", dataset)
    return read_header(path, path.read_bytes()[:1024])


def slice_of(**tags: Any) -> Dataset:
    return ct_files.ct_slice(PIXELS, (-10.0, -20.0, 30.0), **tags)


def test_a_slice_with_all_that_is_needed_of_it(tmp_path: Path) -> None:
    found = read(tmp_path, slice_of(RescaleIntercept=-1024, ConvolutionKernel="B30f"))
    assert (found.series_instance_uid, found.study_instance_uid) == (
        ct_files.SERIES,
        ct_files.STUDY,
    )
    assert found.aside == found.modality == ""
    (one,) = found.slices
    assert one.frame is None and one.shape == (64, 80)
    assert one.position_mm == (-10.0, -20.0, 30.0)
    assert one.pixel_spacing_mm == (0.8, 0.7) and one.thickness_mm == 2.5
    assert one.rescale == (1.0, -1024.0)
    labels = dict(zip(SPLITTING, one.labels, strict=True))
    assert labels["ConvolutionKernel"] == "B30f" and labels["AcquisitionNumber"] == "1"
    assert labels["ImageType"] == "ORIGINAL\\PRIMARY\\AXIAL"
    assert labels["SOPInstanceUID"] == ""  # it differs with every slice
    assert one.normal() == pytest.approx((0, 0, 1)) and one.is_axial()


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"ImagePositionPatient": None}, "position_mm"),
        ({"ImagePositionPatient": [0.0, 0.0, 1e7]}, "position_mm"),  # outside any room
        ({"PixelSpacing": None}, "pixel_spacing_mm"),
        ({"PixelSpacing": [0.0, 0.7]}, "pixel_spacing_mm"),
        ({"PixelSpacing": [800.0, 700.0]}, "pixel_spacing_mm"),
        ({"SliceThickness": None}, "thickness_mm"),
        ({"SliceThickness": 0}, "thickness_mm"),
        ({"RescaleSlope": 0}, "rescale"),
        ({"RescaleIntercept": None}, "rescale"),
        ({"ImageOrientationPatient": None}, "orientation"),
    ],
)
def test_a_value_that_cannot_be_counts_as_missing(
    tags: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """Breaks if a volume is computed from a spacing that no scanner has."""
    (one,) = read(tmp_path, slice_of(**tags)).slices
    assert getattr(one, name) is None


@pytest.mark.parametrize(
    ("tags", "aside"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, LOCALIZER),
        (
            {"SeriesDescription": "Topogram 0.6", "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
            LOCALIZER,
        ),
        ({"SeriesDescription": "Topogram 0.6"}, ""),  # the word alone: axial slices
        ({"SeriesDescription": "autopilot", "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, ""),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"}, REPORT),
    ],
)
def test_what_comes_with_a_series_is_left_aside(
    tags: dict[str, Any], aside: str, tmp_path: Path
) -> None:
    found = read(tmp_path, slice_of(**tags))
    assert found.aside == aside
    assert bool(found.slices) == (not aside)


def test_an_image_of_another_kind_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, slice_of(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR"))
    assert found.modality == "MR" and found.slices == () and found.aside == ""


def test_values_that_are_not_hu_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'Z_EFF'") as caught:
        read(tmp_path, slice_of(RescaleType="Z_EFF"))
    assert caught.value.code == "not-hu"
    assert read(tmp_path, slice_of(RescaleType="US")).slices  # unspecified: scanners write it


def test_a_plane_is_judged_by_its_normal(tmp_path: Path) -> None:
    (coronal,) = read(tmp_path, slice_of(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])).slices
    assert not coronal.is_axial()
    (skewed,) = read(tmp_path, slice_of(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])).slices
    assert skewed.normal() is None and skewed.is_axial()  # nothing speaks against it
