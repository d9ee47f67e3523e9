"""Whole volumes behind a cache of slices, with their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pneumoseg.ct.array_volume import ArrayVolume
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.labelled_volumes import LabelledVolume, SlicePicture, volumes_of
from pneumoseg.dataset.prepare.run import PrepareSettings, prepare
from pneumoseg.dataset.prepare.volumes import VolumeSourceSettings
from pneumoseg.errors import DataError
from pneumoseg.study import Source
from volume_pairs import chest, write_pair


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Two volumes of four slices, one with air in slices 1 and 2, and a single slice."""
    write_pair(tmp_path, "positive", *chest(4, slice(1, 3)))
    write_pair(tmp_path, "negative", *chest(4, None))
    write_pair(tmp_path, "single", *chest(1, slice(0, 1)))
    source = VolumeSourceSettings("made", tmp_path / "volumes", tmp_path / "masks", parts="train")
    return prepare(PrepareSettings(tmp_path / "cache", volumes=(source,), workers=1))


def test_volumes_come_once_each_with_their_truth(cache: Cache) -> None:
    """A slice with air has 16×8 pixels of 5×1×1 mm: 0.64 mL in each."""
    opened = {place.file: place.open() for place in volumes_of(cache, "train")}
    assert sorted(opened) == ["negative.nii.gz", "positive.nii.gz", "single.nii.gz"]
    positive = opened["positive.nii.gz"]
    assert positive.source == "made" and positive.volume.shape == (4, 64, 64)
    assert positive.truth.sum(axis=(1, 2)).tolist() == [0, 128, 128, 0]
    assert positive.voxel_ml is not None
    air_ml = positive.truth.sum(axis=(1, 2)) * positive.voxel_ml
    assert air_ml.tolist() == pytest.approx([0, 0.64, 0.64, 0])
    assert not opened["negative.nii.gz"].truth.any()
    assert volumes_of(cache, "test") == ()


def test_a_single_slice_is_a_picture_without_a_size(cache: Cache) -> None:
    (single,) = (p.open() for p in volumes_of(cache, "train") if p.file == "single.nii.gz")
    assert isinstance(single.volume, SlicePicture)
    assert single.volume.spacing_mm is None and single.volume.geometry is None
    assert single.voxel_ml is None
    assert len(list(single.volume.slices())) == 1


def test_a_volume_that_has_gone_is_named(cache: Cache) -> None:
    place = volumes_of(cache, "train")[0]
    (place.settings.images / place.file).unlink()
    with pytest.raises(DataError, match=f"{place.file} does not exist any more"):
        volumes_of(cache, "train")


def test_slices_with_little_air_and_their_neighbours_are_ambiguous() -> None:
    """64×64 pixels are 8 to a side of the grid's: one is worth 64 of them, 128 are needed."""
    truth = np.zeros((5, 64, 64), dtype=np.bool_)
    truth[1, 0, :1] = True  # 64: too little
    truth[3, 0, :2] = True  # 128
    hu = np.zeros(truth.shape, dtype=np.float32)
    labelled = LabelledVolume("s", "a", ArrayVolume(hu, Source("a")), truth, 128)
    assert labelled.pixels_per_grid_pixel == pytest.approx(1 / 64)
    positive, unambiguous = labelled.slice_labels()
    assert positive.tolist() == [False, False, False, True, False]
    assert unambiguous.tolist() == [False, False, False, True, False]
