"""Attributes that are missing, empty or malformed count as missing; the rest has its type."""

from __future__ import annotations

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pneumoseg.reading.dicom import fence


def dataset(keyword: str, vr: str, value: object) -> Dataset:
    made = Dataset()
    made[keyword] = DataElement(keyword, vr, value, validation_mode=config.IGNORE)
    return made


def test_values_are_always_a_tuple() -> None:
    assert fence.values(Dataset(), "PixelSpacing") == ()
    assert fence.values(dataset("PixelSpacing", "DS", ""), "PixelSpacing") == ()
    assert fence.values(dataset("Modality", "CS", "DX"), "Modality") == ("DX",)
    assert fence.values(dataset("PixelSpacing", "DS", [0.5, 2]), "PixelSpacing") == (0.5, 2)


def test_texts_are_one_short_printable_line_each() -> None:
    """Breaks if a damaged value of half a file, or a line break, reaches a table."""
    long = dataset("SeriesDescription", "LO", " chest\r\n\x00PA " + "x" * 1000)
    (found,) = fence.texts(long, "SeriesDescription")
    assert found.startswith("chestPA x") and len(found) < fence.MAX_CHARACTERS
    unknown = Dataset()
    unknown.add_new("PixelData", "OB", b"DX\xff")  # bytes, as of a VR that is not known
    assert fence.text(unknown, "PixelData") == "DX\N{REPLACEMENT CHARACTER}"
    assert fence.text(Dataset(), "Modality") == ""


def test_one_number_that_is_none_spoils_all() -> None:
    """Half a spacing is no spacing."""
    assert fence.numbers(dataset("PixelSpacing", "UT", ["0.5", "wide"]), "PixelSpacing") == ()
    assert fence.numbers(dataset("PixelSpacing", "FD", [0.5, float("nan")]), "PixelSpacing") == ()
    assert fence.numbers(dataset("PixelSpacing", "FD", [0.5, 0.25]), "PixelSpacing") == (0.5, 0.25)
    assert fence.number(dataset("PixelSpacing", "FD", [0.5, 0.25]), "PixelSpacing") == 0.5
    assert fence.number(Dataset(), "PixelSpacing") is None


def test_a_whole_number_has_no_fraction() -> None:
    assert fence.whole(dataset("Rows", "FD", 512.0), "Rows") == 512
    assert fence.whole(dataset("Rows", "FD", 512.5), "Rows") is None
    assert fence.whole(Dataset(), "Rows") is None


def test_items_are_datasets_alone() -> None:
    inner = dataset("Modality", "CS", "DX")
    outer = Dataset()
    outer.add_new("VOILUTSequence", "SQ", [inner])
    assert fence.items(outer, "VOILUTSequence") == (inner,)
    assert fence.items(dataset("VOILUTSequence", "LO", "none"), "VOILUTSequence") == ()
    assert fence.items(Dataset(), "VOILUTSequence") == ()
