"""Small tables beside a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumoseg.dataset.prepare.tables import cells_by_id, present_columns
from pneumoseg.errors import DataError, UsageError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffSex, image_id ,age\nF, a ,40\nM,b, 41 \n", encoding="utf-8")
    return path


def test_columns_are_found_whatever_their_order_case_and_mark(table: Path) -> None:
    """Breaks if the byte order mark of a spreadsheet hides the first column."""
    assert present_columns(table, ("image_id", "view", "sex")) == ("image_id", "sex")


def test_cells_by_id_without_white_space(table: Path) -> None:
    assert cells_by_id(table, "image_id", ("age", "sex")) == {
        "a": {"age": "40", "sex": "F"},
        "b": {"age": "41", "sex": "M"},
    }


def test_an_id_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("volume_id,age\na,1\nb,2\na ,3\n")
    with pytest.raises(DataError, match=r"t\.csv, line 4: volume a is listed twice"):
        cells_by_id(path, "volume_id", ("age",))


def test_a_missing_file_and_a_missing_column(table: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        present_columns(table.with_name("none.csv"), ("sex",))
    with pytest.raises(DataError):
        cells_by_id(table, "image_id", ("height",))
