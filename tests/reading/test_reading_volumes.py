"""Volumes among files: what is one, what it is called, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import ct_files
import numpy as np
import pytest
from ct_files import AFFINE, SERIES, body
from PIL import Image as Pillow

from pneumoseg.errors import InputError, UsageError
from pneumoseg.reading.volumes import (
    VolumeFailure,
    VolumeInput,
    find_volumes,
    open_volume,
    read_volume,
)
from pneumoseg.writing.nifti_bytes import nifti_bytes


def nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nifti_bytes(body(), AFFINE))
    return path


def picture(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80)).astype(np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


def test_one_folder_with_every_kind(tmp_path: Path) -> None:
    """Files come as they are met, series when all was seen; an empty file is a failure."""
    nifti(tmp_path / "b.nii.gz")
    picture(tmp_path / "a.png")
    (tmp_path / "c.dcm").touch()
    ct_files.write_series(tmp_path / "scan", ct_files.series(body()))
    found = list(find_volumes([tmp_path]))
    names = [one.name if isinstance(one, VolumeInput) else one.code for one in found]
    assert names == ["a", "b", "empty-file", SERIES]
    assert [one.kind for one in found if isinstance(one, VolumeInput)] == [
        "picture",
        "nifti",
        "series",
    ]
    series = found[-1]
    assert isinstance(series, VolumeInput)
    assert series.path == tmp_path / "scan" and len(series.files) == len(body())
    assert series.series_instance_uid == SERIES


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x.nii.gz", "x"), ("x.nii", "x"), ("x.y.NII.GZ", "x.y"), ("x.gz", "x"), (".nii.gz", ".nii")],
)
def test_a_nifti_file_is_named_without_its_ending(name: str, expected: str, tmp_path: Path) -> None:
    (found,) = find_volumes([nifti(tmp_path / name)])
    assert isinstance(found, VolumeInput) and found.name == expected


def test_a_series_over_two_folders_lies_in_what_they_share(tmp_path: Path) -> None:
    slices = ct_files.series(body())
    ct_files.write_series(tmp_path / "a" / "one", slices[:3])
    ct_files.write_series(tmp_path / "a" / "two", slices[3:])
    (found,) = find_volumes([tmp_path])
    assert isinstance(found, VolumeInput) and found.path == tmp_path / "a"
    assert open_volume(found).shape == body().shape


def test_a_whole_volume_is_read_into_memory(tmp_path: Path) -> None:
    image = read_volume(nifti(tmp_path / "a.nii.gz"))
    assert image.pixels.dtype == np.float32 and np.array_equal(image.pixels, body())
    assert image.spacing_mm == pytest.approx(ct_files.SPACING_MM)


def test_one_volume_is_asked_for(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz")
    nifti(tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match="holds 2 volumes") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "several-volumes"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "empty")
    assert caught.value.code == "not-ct"
    (tmp_path / "bad.nii.gz").touch()
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "bad.nii.gz")
    assert caught.value.code == "empty-file"
    with pytest.raises(UsageError):
        list(find_volumes([tmp_path / "none"]))


def test_files_changed_since_they_were_found_are_not_taken_for_the_series(tmp_path: Path) -> None:
    folder = ct_files.write_series(tmp_path / "scan", ct_files.series(body()))
    (found,) = find_volumes([folder])
    assert isinstance(found, VolumeInput) and not isinstance(found, VolumeFailure)
    picture(tmp_path / "a.png").replace(found.files[0])
    with pytest.raises(InputError, match="no DICOM file"):
        open_volume(found)


def test_values_of_a_series_without_rescale_must_look_like_hu(tmp_path: Path) -> None:
    """Body runs from −1000 HU; the same stored without sign from 24 on is refused."""
    bare = {"RescaleSlope": None, "RescaleIntercept": None}
    good = ct_files.write_series(tmp_path / "a", ct_files.series(body(), **bare))
    assert "taken for HU" in " ".join(read_volume(good).source.notes)
    shifted = (body() + 1024).astype(np.uint16)
    bad = ct_files.write_series(tmp_path / "b", ct_files.series(shifted, **bare))
    with pytest.raises(InputError) as caught:
        read_volume(bad)
    assert caught.value.code == "not-hu"
