"""Masks of a CSV measured on their films, and where masks, table and copies contradict."""

from __future__ import annotations

from pathlib import Path

import pytest
from checked_rows import write
from doctor_cases import film

from pneumoseg.doctor.images import FilmFacts
from pneumoseg.doctor.labels import (
    MaskFacts,
    Masks,
    label_of_cell,
    measure_masks,
    picture_conflicts,
    table_conflicts,
)
from pneumoseg.doctor.mask_table import read_mask_table


def measured(
    folder: Path, *rows: str, films: dict[str, FilmFacts] | None = None, grid: int | None = None
) -> Masks:
    """Masks of films of 100×100 pixels."""
    path = write(folder / "m.csv", "ImageId,EncodedPixels", *rows)
    known = {"a": film("a"), "b": film("b")} if films is None else films
    return measure_masks(read_mask_table(path), known, grid)


def codes(masks: Masks) -> list[str]:
    return [one.code for one in masks.findings]


def test_rows_lesions_and_pixels_that_two_rows_share(tmp_path: Path) -> None:
    """Runs 1010 to 1019 and 1015 to 1024 share five pixels and are one lesion; 5050 is another."""
    masks = measured(tmp_path, "a,1010 10", "a,1015 10", "a,5050 1", "b,-1")
    assert masks.images["a"] == MaskFacts(3, False, 5, 2)
    assert masks.images["b"] == MaskFacts(0, True, 0, 0)
    assert masks.images["a"].label is True and masks.images["b"].label is False
    assert codes(masks) == ["several-rows", "overlapping-annotations"]
    assert masks.findings[0].what.startswith("3 rows with a mask are 1 positive images with 2")


def test_a_malformed_row_is_no_label(tmp_path: Path) -> None:
    masks = measured(tmp_path, "a,5 x")
    assert masks.images["a"].label is None
    assert codes(masks) == ["bad-row"]


def test_empty_and_mask_at_once_contradict(tmp_path: Path) -> None:
    masks = measured(tmp_path, "a,1010 10", "a,-1")
    assert "conflict-empty-and-mask" in codes(masks)


def test_a_mask_beyond_the_grid_has_no_lesions_to_count(tmp_path: Path) -> None:
    masks = measured(tmp_path, "a,9999 2")
    assert masks.images["a"].lesions is None
    assert codes(masks) == ["runs-outside-grid"]


def test_a_mask_without_its_film_is_kept_unmeasured(tmp_path: Path) -> None:
    masks = measured(tmp_path, "z,1010 10")
    assert masks.images["z"] == MaskFacts(1, False, 0, None)


def test_masks_at_the_edge_and_beside_the_field(tmp_path: Path) -> None:
    """The field is columns 20 to 99; eight of the mask's ten columns lie left of it."""
    barred = film("a", field=(0.0, 1.0, 0.2, 1.0))
    rows = " ".join(["1240 5", *["95 5"] * 9])  # columns 12 to 21, rows 40 to 44
    masks = measured(tmp_path, f"a,{rows}", "b,0 1", films={"a": barred, "b": film("b")})
    assert masks.images["a"].outside_field == pytest.approx(0.8)
    assert not masks.images["a"].at_edge and masks.images["b"].at_edge
    found = {one.code: one for one in masks.findings}
    assert found["mask-at-edge"].examples[0].item == "b"
    assert found["mask-outside-field"].examples[0].detail == "80%"


def test_a_square_grid_does_not_fit_a_film_that_is_not(tmp_path: Path) -> None:
    films = {"a": film("a", rows=80), "b": film("b", rows=80)}
    masks = measured(tmp_path, "a,500 5", "b,-1", films=films, grid=50)
    (found,) = (one for one in masks.findings if one.code == "mask-grid-mismatch")
    assert [o.item for o in found.examples] == ["a"]  # an empty mask fits everywhere


@pytest.mark.parametrize(
    ("cell", "label"),
    [("1", True), (" Yes ", True), ("0.0", False), ("NEGATIVE", False), ("", None), ("2", None)],
)
def test_words_of_a_label_column(cell: str, label: bool | None) -> None:
    assert label_of_cell(cell) is label


def test_table_against_mask() -> None:
    masks = {
        "a": MaskFacts(2, False, 0, 1),
        "b": MaskFacts(0, True, 0, 0),
        "c": MaskFacts(0, False, 0, 0),  # no sound row: nothing to contradict
    }
    assert table_conflicts(masks, {"a": True, "b": False, "c": True, "z": True}, "label") == []
    (found,) = table_conflicts(masks, {"a": False, "b": False}, "label")
    assert [(o.item, o.detail) for o in found.examples] == [("a", "label 0, 2 rows with a mask")]


def test_copies_with_two_labels() -> None:
    groups = [[film("a"), film("b")], [film("c"), film("d")]]
    (found,) = picture_conflicts(groups, {"a": True, "b": False, "c": True})
    assert [o.detail for o in found.examples] == ["a positive, b negative"]
    assert picture_conflicts(groups, {"a": True, "b": True}) == []
