"""The one reader of the challenge's CSV: every dialect read, every fault named with its line."""

import csv
from pathlib import Path

import pytest

from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading.siim_csv import (
    read_columns,
    read_mask_rows,
    read_patients,
    strip_image_suffix,
)

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "siim" / "train-rle.csv"


def _write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "ImageId, EncodedPixels\n1.2.3, 0 5 2 1\n1.2.3, 9 1\n1.2.4, -1\n",
        "ImageId,EncodedPixels\r\n1.2.3.dcm,0 5 2 1\r\n1.2.3.dcm,9 1\r\n1.2.4.dcm,-1\r\n",
        "\ufeffImageId,EncodedPixels\n1.2.3.png,0 5 2 1\n\n1.2.3.png,9 1\n1.2.4.PNG, -1\n",
        "side,EncodedPixels,imageid\nL,0 5 2 1,1.2.3\nR,9 1,1.2.3\n,-1,1.2.4",
    ],
)
def test_every_dialect_reads_the_same(tmp_path: Path, text: str) -> None:
    """Fails if a mirror's space, suffix, byte order mark, line end or column order is lost."""
    rows = read_mask_rows(_write(tmp_path / "truth.csv", text))
    assert rows == {"1.2.3": ["0 5 2 1", "9 1"], "1.2.4": ["-1"]}


def test_a_uid_keeps_its_dots_and_a_bare_suffix_stays() -> None:
    """Fails if the last component of a UID were taken for a file ending."""
    assert strip_image_suffix(" 1.2.276.7 ") == "1.2.276.7"
    assert strip_image_suffix("a.b.JPEG") == "a.b"
    assert strip_image_suffix(".dcm") == ".dcm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("ImageId,EncodedPixels\n", "no rows"),
        ("ImageId,Label\na,1\n", "line 1: expected one column EncodedPixels"),
        ("ImageId,EncodedPixels\na,-1\n,-1\n", "line 3: the ImageId cell"),
        ("ImageId,EncodedPixels\na,\n", "line 2: EncodedPixels of a"),
        ("ImageId,EncodedPixels\na,3\n", "line 2: EncodedPixels of a"),
        ("ImageId,EncodedPixels\na,3 -1\n", "line 2: EncodedPixels of a"),
        ("ImageId,EncodedPixels\na,-1\nb\n", "line 3: 1 cells where the header has 2"),
        (b"ImageId,EncodedPixels\n\xff\xfe,-1\n", "not UTF-8"),
        ('ImageId,EncodedPixels\n"a,-1\n', "not a well-formed CSV"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Fails if a damaged CSV were read in part, or its message did not say where."""
    with pytest.raises(DataError, match=message):
        read_mask_rows(_write(tmp_path / "truth.csv", text))


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nothing.csv"):
        read_mask_rows(tmp_path / "nothing.csv")


def test_a_very_long_field_is_read_and_the_limit_put_back(tmp_path: Path) -> None:
    """Fails if csv's 131,072-character limit stopped a ragged mask, or stayed lifted."""
    text = " ".join(["1 1"] * 60_000)
    before = csv.field_size_limit()
    rows = read_mask_rows(_write(tmp_path / "t.csv", f"ImageId,EncodedPixels\na,{text}\n"))
    assert rows["a"] == [text]
    assert csv.field_size_limit() == before


def test_other_columns_are_found_by_name(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", "a, patient_id ,image_id\n1,p,i\n")
    assert list(read_columns(path, ("image_id", "patient_id"))) == [(2, ("i", "p"))]


@pytest.mark.skipif(not REAL.is_file(), reason="the real train-rle.csv is not beside the checkout")
def test_the_real_file_has_its_known_counts() -> None:
    """Fails if rows or images of the real CSV are lost: 1,748 images, 952 with pneumothorax."""
    rows = read_mask_rows(REAL)
    assert len(rows) == 1748
    assert sum(texts != ["-1"] for texts in rows.values()) == 952


def test_patients_are_read_whatever_the_columns_are_called(tmp_path: Path) -> None:
    """Fails if DICOM's spelling were not found or an empty patient became one."""
    path = _write(tmp_path / "t.csv", "PatientID,ImageId\np1,a.dcm\n,b\np1,c\n")
    assert read_patients(path) == {"a": "p1", "c": "p1"}
