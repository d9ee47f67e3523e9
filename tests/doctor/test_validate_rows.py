"""Every kind of trouble that a row can have, planted and found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checked_rows import check_aggregated, check_split, ellipse, found

from pneumoseg import rle
from pneumoseg.errors import DataError


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a,5 2", "a,9 1"], [(3, "duplicate-row")]),
        (["a,5 2", "b,5 x"], [(3, "not-whole-numbers")]),
        (["a,5 2 3"], [(2, "odd-count")]),
        (["a,5 0"], [(2, "bad-length")]),
        (["a,-5 2"], [(2, "bad-start")]),
        (["a,5 4 -2 3"], [(2, "overlapping-runs")]),
        (["a,98 2"], []),
        (["a,98 3"], [(2, "outside-grid")]),
        (["a b,5 2"], [(2, "malformed-id")]),
        ([",5 2"], [(2, "malformed-id")]),
        (["a.dcm,5 2"], [(2, "malformed-id")]),
        (["a,5 2,7"], [(2, "wrong-width")]),
        (["a,11 5 21 5 31 5 41 5"], [(2, "absolute-starts")]),
    ],
)
def test_rows_of_the_aggregated_kind(
    tmp_path: Path, rows: list[str], expected: list[tuple[int, str]]
) -> None:
    assert found(check_aggregated(tmp_path, *rows, grid=10)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a,5 2,2,2,,0.9,"], [(2, "lesion-number")]),
        (["a,5 2,1,2,,0.9,", "a,11 1,3,1,,0.9,"], [(3, "lesion-number")]),
        (["a,5 2,1,2,,0.9,", "a,11 1,1,1,,0.9,"], [(3, "lesion-number")]),
        (["a,5 2,1,2,,0.9,", "a,-1,,,,,"], [(3, "empty-not-alone")]),
        (["a,-1,,,,,", "a,-1,,,,,"], [(2, "empty-not-alone"), (3, "empty-not-alone")]),
        (["a,-1,,,,0.3,"], [(2, "empty-with-values")]),
        (["a,5 2,1,2,,0.9,", "a,6 2,2,2,,0.9,"], [(3, "overlapping-lesions")]),
        (["a,5 2,1,3,,0.9,"], [(2, "area-mismatch")]),
        (["a,5 2,1,2,,1.1,"], [(2, "bad-score")]),
        (["a,5 2,1,2,,nan,"], [(2, "bad-score")]),
        (["a,5 2,1,2,,0.9,links"], [(2, "bad-side")]),
        (["a,5 2,1,2,-1,0.9,"], [(2, "bad-area-mm2")]),
        (["a,5 2,1,2,0.50,0.9,", "a,11 1,2,1,0.75,0.9,"], [(3, "bad-area-mm2")]),
    ],
)
def test_rows_of_the_split_kind(
    tmp_path: Path, rows: list[str], expected: list[tuple[int, str]]
) -> None:
    assert found(check_split(tmp_path, *rows, grid=10)) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (("2", "5"), []),
        (("5", "2"), [(3, "lesion-number")]),
        (("2", "2"), [(3, "lesion-number")]),
        (("0", "1"), [(2, "lesion-number")]),
        (("02", "3"), [(2, "lesion-number")]),
    ],
)
def test_lesions_of_a_slice_keep_their_volumes_numbers(
    tmp_path: Path, numbers: tuple[str, str], expected: list[tuple[int, str]]
) -> None:
    """A slice need not show lesion 1 of its volume; a film must."""
    rows = [f"a,5 2,{numbers[0]},2,,0.9,", f"a,11 1,{numbers[1]},1,,0.9,"]
    assert found(check_split(tmp_path, *rows, grid=10, slices=True)) == expected
    assert found(check_split(tmp_path, *rows, grid=10)) != []


def test_masks_of_a_smaller_grid_are_recognised(tmp_path: Path) -> None:
    """Runs of a 256 grid fit 512×512; only the distance of the columns gives them away."""
    small = [f"{name},{rle.encode(ellipse(256, h))}" for name, h in (("a", 0.1), ("b", 0.2))]
    assert [code for _, code in found(check_aggregated(tmp_path, *small, grid=512))] == [
        "wrong-grid",
        "wrong-grid",
    ]
    assert check_aggregated(tmp_path, *small, grid=256).is_valid


def test_two_lesions_above_each_other_are_no_other_grid(tmp_path: Path) -> None:
    """Half the distance in one row proves nothing while the other rows agree with the grid."""
    two = ellipse(256, 0.05) | np.roll(ellipse(256, 0.05), 128, axis=0)
    rows = [f"a,{rle.encode(two)}"] + [f"{n},{rle.encode(ellipse(256))}" for n in "bc"]
    assert check_aggregated(tmp_path, *rows, grid=256).is_valid


def test_absolute_starts_are_recognised_without_a_grid(tmp_path: Path) -> None:
    mask = ellipse(64)
    columns = np.flatnonzero(np.diff(np.concatenate(([0], mask.T.ravel(), [0]))))
    runs = columns.reshape(-1, 2)
    text = " ".join(f"{start + 1} {end - start}" for start, end in runs)
    assert found(check_aggregated(tmp_path, f"a,{text}")) == [(2, "absolute-starts")]


def test_a_pair_that_differs(tmp_path: Path) -> None:
    check_aggregated(tmp_path, "a,5 3", "b,-1", "c,1 1")
    pair = tmp_path / "a.csv"
    rows = ["a,5 2,1,2,,0.9,", "a,7 1,2,1,,0.9,", "b,1 1,1,1,,0.9,", "d,-1,,,,,"]
    report = check_split(tmp_path, *rows, pair=pair)
    assert [(p.line, p.image_id, p.code) for p in report.problems] == [
        (0, "c", "pair-differs"),
        (4, "b", "pair-differs"),
        (5, "d", "pair-differs"),
    ]
    assert "1 px differ" in report.problems[1].message
    with pytest.raises(DataError, match="same kind"):
        check_aggregated(tmp_path, "a,5 3", pair=pair)
