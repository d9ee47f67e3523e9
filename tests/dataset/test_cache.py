"""The cache as opened."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.dataset.cache import Cache, CacheRow, read_table, write_table
from pneumoseg.errors import DataError, UsageError

ROWS = (
    CacheRow(0, "1.2.3", "siim", "p1", "test", 1, "mask", "PA", "38", "F", 1024, 900, "a/x.dcm"),
    CacheRow(1, "film, odd", "siim", "p2", "train", 0, "mask", "", "", "", 512, 512, "y.png"),
    CacheRow(2, "ID_1", "more", "ID_1", "train", 0, "silver", "", "", "", 64, 64, "z.webp"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.arange(3, dtype=np.uint8)[:, None, None].repeat(512, 1).repeat(512, 2)
    images.tofile(tmp_path / "images.u8")
    (images == 0).astype(np.uint8).tofile(tmp_path / "masks.u8")
    write_table(ROWS, tmp_path / "table.csv")
    _write_about(tmp_path, {"format": 1, "grid": 512, "rows": 3})
    return tmp_path


def _write_about(folder: Path, about: object) -> None:
    (folder / "cache.json").write_text(json.dumps(about))


def test_a_cache_opens_with_its_arrays_aligned(folder: Path) -> None:
    cache = Cache.open(folder)
    assert len(cache) == 3
    assert cache.rows == ROWS
    assert cache.images.shape == cache.masks.shape == (3, 512, 512)
    assert cache.images[:, 511, 511].tolist() == [0, 1, 2]
    assert cache.masks[:, 0, 0].tolist() == [1, 0, 0]
    assert cache.labels.dtype == np.int8
    assert cache.labels.tolist() == [1, 0, 0]
    assert cache.patients.tolist() == ["p1", "p2", "ID_1"]
    assert cache.sources.tolist() == ["siim", "siim", "more"]


def test_parts_are_row_indices(folder: Path) -> None:
    cache = Cache.open(folder)
    assert cache.part("train").tolist() == [1, 2]
    assert cache.part("test").tolist() == [0]
    assert cache.part("calibration").dtype == np.int64
    assert cache.part("calibration").size == 0
    with pytest.raises(UsageError, match="no part 'validation'"):
        cache.part("validation")


def test_training_cannot_write_into_the_cache(folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        Cache.open(folder).images[0, 0, 0] = 1


def test_a_pickled_cache_is_a_path_not_its_gigabytes(folder: Path) -> None:
    """Loader processes are handed the cache; a copy in each would fill the memory."""
    data = pickle.dumps(Cache.open(folder))
    assert len(data) < 1000
    assert pickle.loads(data).rows == ROWS


def test_an_unfinished_cache_is_refused_with_the_way_on(folder: Path) -> None:
    (folder / "cache.json").unlink()
    with pytest.raises(DataError, match="not a finished training cache.*pneumoseg prepare"):
        Cache.open(folder)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"format": 9, "grid": 512, "rows": 3}, "format 9"),
        ({"format": 1, "grid": 256, "rows": 3}, "grid of 256"),
        ({"format": 1, "grid": 512, "rows": 4}, "has 3 rows where cache.json says 4"),
        (["format"], "JSON object"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, about: object, message: str) -> None:
    _write_about(folder, about)
    with pytest.raises(DataError, match=message):
        Cache.open(folder)


def test_a_cut_data_file_is_refused(folder: Path) -> None:
    with (folder / "masks.u8").open("r+b") as file:
        file.truncate(3 * 512 * 512 - 1)
    with pytest.raises(DataError, match="786431 bytes, expected 786432"):
        Cache.open(folder)


def test_a_hand_edited_table_cannot_put_a_patient_on_two_sides(folder: Path) -> None:
    write_table((ROWS[0], replace(ROWS[1], patient_id="p1"), ROWS[2]), folder / "table.csv")
    with pytest.raises(DataError, match="patient p1 is in both test and train"):
        Cache.open(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("row,image_id", "row,id", "must have the columns"),
        ("1024,900", "1024,wide", "cannot read"),
        ("\n1,", "\n5,", "numbered 0, 1, 2"),
    ],
)
def test_a_damaged_table_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "table.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_table(path)
