"""What the masks say, row by row, image by image, lesion by lesion, and where they contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.doctor.findings import DataFinding, Example, finding, say
from pneumoseg.doctor.images import FilmFacts
from pneumoseg.doctor.mask_table import (
    MaskRow,
    MaskTable,
    area,
    check_numbers,
    intervals,
    united,
)
from pneumoseg.doctor.validate_rows import by_image, check_runs
from pneumoseg.errors import RunLengthError
from pneumoseg.postprocess import CONNECTIVITY

MOSTLY = 0.5
"""Share of a mask that must lie outside the field to be reported."""
LABEL_COLUMNS = ("pneumothorax", "label")
"""Columns of a table that are taken for the label, in this order, where none is named."""
_YES, _NO = ("1", "1.0", "true", "yes", "positive"), ("0", "0.0", "false", "no", "negative")


@dataclass(frozen=True)
class MaskFacts:
    """What is known of one image's mask."""

    rows: int
    """Rows of the CSV that have sound runs."""
    has_empty_row: bool
    overlap_px: int
    """Pixels that belong to more than one row, each counted as often as it is repeated."""
    lesions: int | None
    """Connected components of the union; None where the runs do not fit, or no film is there."""
    at_edge: bool = False
    outside_field: float = 0.0
    """Share of the mask in the bars beside the film."""

    @property
    def label(self) -> bool | None:
        """Whether the image shows a pneumothorax by its mask; None where every row is malformed."""
        return True if self.rows else False if self.has_empty_row else None


@dataclass(frozen=True)
class Masks:
    """All masks of a CSV, by image, and what is wrong with its rows."""

    images: Mapping[str, MaskFacts] = field(default_factory=dict)
    findings: tuple[DataFinding, ...] = ()


def measure_masks(table: MaskTable, films: Mapping[str, FilmFacts], mask_grid: int | None) -> Masks:
    """Decode every mask whose film is there, and collect what is wrong.

    Args:
        table: the CSV.
        films: by image id.
        mask_grid: side of the square grid of the run lengths; None for the films' own.
    """
    sizes = {
        image_id: (film.rows, film.cols) if mask_grid is None else (mask_grid, mask_grid)
        for image_id, film in films.items()
    }
    facts = {
        image_id: _measure(rows, sizes.get(image_id), films.get(image_id))
        for image_id, rows in by_image(table.rows).items()
    }
    found = _table_findings(table) + _grid_findings(table, sizes) + _mask_findings(facts)
    if mask_grid is not None:
        found += _squeezed_findings([films[i] for i, f in facts.items() if f.label and i in films])
    return Masks(facts, tuple(found))


def _measure(
    rows: list[MaskRow], size: tuple[int, int] | None, film: FilmFacts | None
) -> MaskFacts:
    drawn = [row for row in rows if row.numbers is not None and check_numbers(row) is None]
    has_empty_row = any(row.is_empty for row in rows)
    sound = [united([intervals(row)]) for row in drawn]
    overlap = sum(map(area, sound)) - area(united(sound))
    if not drawn or size is None or film is None:
        return MaskFacts(len(drawn), has_empty_row, overlap, None if drawn else 0)
    try:
        mask = rle.decode_union([row.text for row in drawn], size)
    except RunLengthError:
        return MaskFacts(len(drawn), has_empty_row, overlap, None)
    lesions = cv2.connectedComponents(mask.view(np.uint8), connectivity=CONNECTIVITY)[0] - 1
    at_edge = bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())
    outside = _share_outside(mask, film.field)
    return MaskFacts(len(drawn), has_empty_row, overlap, lesions, at_edge, outside)


def _share_outside(
    mask: NDArray[np.bool_], field_shares: tuple[float, float, float, float]
) -> float:
    rows, cols = mask.shape
    top, bottom, left, right = field_shares
    inside = mask[
        int(top * rows) : round(bottom * rows), int(left * cols) : round(right * cols)
    ].sum()
    return 1.0 - float(inside) / float(mask.sum())


def _table_findings(table: MaskTable) -> list[DataFinding]:
    found = []
    if table.dialect:
        what = "the CSV of masks departs from the plain form: " + "; ".join(table.dialect)
        listed = [Example(table.path.name, sentence) for sentence in table.dialect]
        found.append(finding("csv-dialect", what, listed))
    bad = [Example(f"line {line}", "another number of cells") for line in table.wrong_width]
    for row in table.rows:
        wrong = check_numbers(row)
        if not row.image_id:
            bad.append(Example(f"line {row.line}", "no image id"))
        elif wrong is not None:
            bad.append(Example(f"line {row.line}, {row.image_id}", wrong[1]))
    if bad:
        found.append(
            finding(
                "bad-row",
                say(len(bad), "row of the masks is", "rows of the masks are") + " malformed",
                bad,
            )
        )
    return found


def _grid_findings(table: MaskTable, sizes: Mapping[str, tuple[int, int]]) -> list[DataFinding]:
    problems = list(check_runs(tuple(row for row in table.rows if row.image_id in sizes), sizes))
    found = []
    for code, codes, what in (
        ("runs-outside-grid", ("outside-grid", "absolute-starts"), "not on the film's grid"),
        ("runs-of-another-grid", ("wrong-grid",), "on the grid, but as if drawn on another"),
    ):
        listed = [
            Example(f"line {p.line}, {p.image_id}", p.message) for p in problems if p.code in codes
        ]
        if listed:
            found.append(
                finding(code, say(len(listed), "row", "rows") + f" of the masks: {what}", listed)
            )
    return found


def _squeezed_findings(positive: Sequence[FilmFacts]) -> list[DataFinding]:
    listed = [Example(f.image_id, f"{f.rows}×{f.cols}") for f in positive if f.rows != f.cols]
    what = (
        say(len(listed), "film with a mask is", "films with a mask are")
        + " not square, as the mask's grid is"
    )
    return [finding("mask-grid-mismatch", what, listed)] if listed else []


def _mask_findings(facts: Mapping[str, MaskFacts]) -> list[DataFinding]:
    found = []
    both = [Example(i, f"{f.rows} masks") for i, f in facts.items() if f.label and f.has_empty_row]
    if both:
        what = say(len(both), "image has", "images have") + " a row -1 and a mask"
        found.append(finding("conflict-empty-and-mask", what, both))
    ranked = sorted(facts.items(), key=lambda pair: -pair[1].rows)
    several = [Example(i, f"{f.rows} rows") for i, f in ranked if f.rows > 1]
    if several:
        known = [f for f in facts.values() if f.lesions is not None]  # the film is there
        rows, images = sum(f.rows for f in known), sum(f.rows > 0 for f in known)
        lesions = sum(f.lesions or 0 for f in known)
        what = (
            f"{rows} rows with a mask are {images} positive images with {lesions} connected "
            f"lesions; {len(several)} images have several rows"
        )
        found.append(finding("several-rows", what, several))
    ranked = sorted(facts.items(), key=lambda pair: -pair[1].overlap_px)
    overlaps = [Example(i, f"{f.overlap_px} px twice") for i, f in ranked if f.overlap_px]
    if overlaps:
        what = f"in {say(len(overlaps), 'image', 'images')} the rows' masks overlap"
        found.append(finding("overlapping-annotations", what, overlaps))
    edge = [Example(i) for i, f in facts.items() if f.at_edge]
    if edge:
        what = say(len(edge), "mask touches", "masks touch") + " the edge of the image"
        found.append(finding("mask-at-edge", what, edge))
    ranked = sorted(facts.items(), key=lambda pair: -pair[1].outside_field)
    outside = [Example(i, f"{f.outside_field:.0%}") for i, f in ranked if f.outside_field > MOSTLY]
    if outside:
        what = say(len(outside), "mask lies", "masks lie") + " mostly outside the exposed field"
        found.append(finding("mask-outside-field", what, outside))
    return found


def label_of_cell(cell: str) -> bool | None:
    """Read a table's label: 1, 0, true, false, yes, no, positive, negative; None for all else."""
    word = cell.strip().lower()
    return True if word in _YES else False if word in _NO else None


def table_conflicts(
    masks: Mapping[str, MaskFacts], table_labels: Mapping[str, bool], column: str
) -> list[DataFinding]:
    """Images whose mask and table contradict each other."""
    listed = [
        Example(i, f"{column} {int(table_labels[i])}, {f.rows} rows with a mask")
        for i, f in masks.items()
        if i in table_labels and f.label is not None and table_labels[i] is not f.label
    ]
    what = (
        say(len(listed), "image has", "images have")
        + f" another label in the table's column {column} than by mask"
    )
    return [finding("conflict-table-label", what, listed)] if listed else []


def picture_conflicts(
    groups: Sequence[Sequence[FilmFacts]], labels: Mapping[str, bool]
) -> list[DataFinding]:
    """Exact copies of one picture with different labels.

    Args:
        groups: films with the same pixels.
        labels: by image id, where known.
    """
    listed = []
    for group in groups:
        given = {film.image_id: labels[film.image_id] for film in group if film.image_id in labels}
        if len(set(given.values())) > 1:
            words = ", ".join(f"{i} {'positive' if v else 'negative'}" for i, v in given.items())
            listed.append(Example(group[0].image_id, words))
    what = say(len(listed), "picture has", "pictures have") + " copies with different labels"
    return [finding("conflict-same-picture", what, listed)] if listed else []
