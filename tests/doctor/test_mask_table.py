"""A CSV of masks is read whole, with what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.doctor.mask_table import (
    area,
    check_numbers,
    intervals,
    is_absolute,
    read_mask_table,
    suggested_height,
    united,
)
from pneumoseg.errors import DataError, UsageError


def table_of(tmp_path: Path, *rows: str, header: str = "ImageId,EncodedPixels"):  # type: ignore[no-untyped-def]
    path = tmp_path / "t.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return read_mask_table(path)


def test_the_dialect_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfImageId, EncodedPixels\r\na.dcm, -1\r\nb,3 2\r\n")
    table = read_mask_table(path)
    assert [row.image_id for row in table.rows] == ["a", "b"]
    assert table.rows[0].is_empty
    message = " | ".join(table.dialect)
    for words in ("byte order mark", "CRLF", "'ImageId, EncodedPixels'", "1 cells", "file ending"):
        assert words in message


def test_the_plain_form_has_no_dialect(tmp_path: Path) -> None:
    assert table_of(tmp_path, "a,-1", "b,3 2").dialect == ()


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("-1", None),
        ("3 2 1 1", None),
        ("3 2 0 1", None),  # touching runs
        ("3 x", "not-whole-numbers"),
        ("", "not-whole-numbers"),
        ("3 2 1", "odd-count"),
        ("3 0", "bad-length"),
        ("3 -4", "bad-length"),
        ("-3 4", "bad-start"),
        ("3 5 -2 4", "overlapping-runs"),
    ],
)
def test_numbers_are_checked(tmp_path: Path, cell: str, code: str | None) -> None:
    wrong = check_numbers(table_of(tmp_path, f"a,{cell}").rows[0])
    assert (wrong and wrong[0]) == code


def test_lines_of_another_width_are_no_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a,3 2", "b", "", "c,-1")
    assert table.wrong_width == (3,)
    assert [row.line for row in table.rows] == [2, 5]


def test_intervals_unite(tmp_path: Path) -> None:
    a, b = table_of(tmp_path, "a,3 2 4 1", "a,4 3 2 2").rows
    assert intervals(a).tolist() == [[3, 5], [9, 10]]
    assert intervals(b).tolist() == [[4, 7], [9, 11]]
    both = united([intervals(a), intervals(b)])
    assert both.tolist() == [[3, 7], [9, 11]]
    assert area(both) == 6
    assert united([]).shape == (0, 2)
    assert united([np.array([[0, 9], [1, 2], [9, 12]])]).tolist() == [[0, 12]]


def test_a_compact_mask_tells_its_height(tmp_path: Path) -> None:
    """The distance of neighbouring columns' runs is the height of the grid."""
    rows, cols = np.mgrid[0:200, 0:300]
    mask = ((rows - 80) / 60) ** 2 + ((cols - 150) / 25) ** 2 < 1
    row = table_of(tmp_path, f"a,{rle.encode(mask)}").rows[0]
    assert suggested_height(row) == pytest.approx(200, abs=2)
    assert suggested_height(table_of(tmp_path, "a,3 2 198 2").rows[0]) is None


def test_absolute_starts_are_recognised(tmp_path: Path) -> None:
    absolute, relative = table_of(tmp_path, "a,11 5 111 6 211 5", "a,10 5 95 6 94 5").rows
    assert is_absolute(absolute, 1000)
    assert not is_absolute(absolute, 200)
    assert not is_absolute(relative, 1000)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_mask_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="expected the columns"):
        table_of(tmp_path, "a,b", header="x,y")
    (tmp_path / "e.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_mask_table(tmp_path / "e.csv")
    (tmp_path / "b.csv").write_bytes(b"ImageId,EncodedPixels\n\xff,1")
    with pytest.raises(DataError, match="UTF-8"):
        read_mask_table(tmp_path / "b.csv")
