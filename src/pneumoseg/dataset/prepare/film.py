"""From one file of a source to one row of the cache: its film, its mask, its label, its patient.

A source names its labels in small tables (masks, negatives, patients); they are read once, then
every file is read, labelled and brought to the grid on its own, in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoseg.dataset.prepare.journal import FAILED, LEFT_OUT, ROW, PreparedRecord, Record
from pneumoseg.dataset.prepare.source import files_below
from pneumoseg.dataset.prepare.tables import cells_by_id, present_columns
from pneumoseg.errors import DataError, InputError, UsageError
from pneumoseg.preprocess import GRID_SIZE, mask_to_grid, to_grid
from pneumoseg.reading import read
from pneumoseg.reading.siim_csv import drawn_mask, read_mask_rows
from pneumoseg.settings import at_least, fraction
from pneumoseg.study import Image, Units

IMAGE_ID = "image_id"
TABLE_COLUMNS = ("patient_id", "split", "view", "age", "sex")
"""Columns read from a source's table, each where it is there; ``image_id`` must be."""

NO_LABEL = "no-label"
AMBIGUOUS = "not-clear"
DUPLICATE = "duplicate-image"

FROM_MASK = "mask"
FROM_SILVER = "silver"


@dataclass(frozen=True)
class SourceSettings:
    """One data set: where its images are, and what says which of them show a pneumothorax."""

    name: str
    """Short name, kept with every row."""
    images: Path
    """Folder of DICOM, PNG, JPEG, WebP or TIFF films; walked, every file is tried."""
    masks: Path | None = None
    """SIIM CSV (ImageId, EncodedPixels); images that are not in it are left out."""
    mask_grid: int | None = None
    """Side of the square grid the run lengths were written on, where it is not the image's own."""
    table: Path | None = None
    """CSV with image_id and, each optional, patient_id, split, view, age, sex."""
    negatives: Path | None = None
    """CSV with image_id and a model's probability: its low end counts as negative (silver)."""
    negatives_column: str = "silver_probability"
    """Name of the probability column in the negatives CSV."""
    negatives_below: float = 0.1
    """Images below this probability are negatives; the others of that CSV are left out."""
    positives_from: float | None = None
    """Images of that CSV from this probability on are positives without a mask (silver too): for
    the classifier, and for the segmenter where a teacher predicts a mask; None leaves them out."""
    parts: Literal["split", "train"] = "split"
    """Whether patients are split into train, calibration and test, or all train."""
    evaluate_on: str | None = None
    """Only images with this word in the table's split column may be calibrated or tested on."""

    def __post_init__(self) -> None:
        if self.masks is None and self.negatives is None:
            raise UsageError(
                f"source {self.name!r} has no labels; give masks (a SIIM CSV) or negatives"
            )
        at_least("mask_grid", self.mask_grid, 1, "pixels")
        if self.evaluate_on is not None and (self.table is None or self.parts != "split"):
            raise UsageError(
                f"source {self.name!r}: evaluate_on needs a table with a split column and "
                'parts = "split"'
            )
        fraction("negatives_below", self.negatives_below)
        if self.positives_from is None:
            return
        if self.negatives is None or self.parts != "train":
            raise UsageError(
                f"source {self.name!r}: positives_from needs the CSV that negatives names, and "
                'parts = "train": a label given by a model may train, never evaluate'
            )
        if not self.negatives_below <= self.positives_from <= 1.0:
            raise UsageError(
                f"positives_from must lie between negatives_below ({self.negatives_below}) and 1, "
                f"got {self.positives_from}"
            )

    @property
    def tables(self) -> list[Path]:
        """The CSVs that decide its labels."""
        return [path for path in (self.masks, self.table, self.negatives) if path is not None]


@dataclass(frozen=True)
class SourceTables:
    """The labels of one source, read; a :class:`~pneumoseg.dataset.prepare.source.LabelledSource`.

    Attributes:
        mask_rows: image id -> run lengths; empty where the source has no masks.
        probabilities: image id -> silver probability.
        facts: image id -> the ``TABLE_COLUMNS`` that the table has.
    """

    settings: SourceSettings
    mask_rows: Mapping[str, list[str]] = field(default_factory=dict)
    probabilities: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The source's short name, kept with every row."""
        return self.settings.name

    @property
    def parts(self) -> str:
        """Whether patients are split, or all train."""
        return self.settings.parts

    @property
    def masked(self) -> Set[str]:
        """Image ids that the CSV of masks names."""
        return self.mask_rows.keys()

    def files(self) -> list[Path]:
        """Every file of the folder is tried."""
        return files_below(self.settings.images)

    def prepare(self, path: Path) -> tuple[PreparedRecord, ...]:
        """One file, one record."""
        return (prepare_film(self, path),)

    def may_evaluate(self, record: Record) -> bool:
        """Only films whose split column holds ``evaluate_on``, where it is given."""
        return self.parts == "split" and self.settings.evaluate_on in (None, record.split)

    def is_unambiguous(self, record: Record) -> bool:
        """A film's label is never in doubt here."""
        return True


def read_source_tables(settings: SourceSettings) -> SourceTables:
    """Read a source's CSVs.

    Raises:
        UsageError: a CSV cannot be opened.
        DataError: a CSV is malformed, lists an image twice, or no row has the ``evaluate_on`` word.
    """
    mask_rows = {} if settings.masks is None else read_mask_rows(settings.masks)
    probabilities = {}
    if settings.negatives is not None:
        column = settings.negatives_column
        for image_id, cells in cells_by_id(settings.negatives, IMAGE_ID, (column,)).items():
            probabilities[image_id] = _probability(settings.negatives, image_id, cells[column])
    facts = {}
    if settings.table is not None:
        columns = present_columns(settings.table, TABLE_COLUMNS)
        facts = cells_by_id(settings.table, IMAGE_ID, columns)
        word = settings.evaluate_on
        if word is not None and all(row.get("split") != word for row in facts.values()):
            raise DataError(
                f"{settings.table} has no row with {word!r} in a split column, so nothing of "
                f"source {settings.name!r} could be evaluated; correct evaluate_on"
            )
    return SourceTables(settings, mask_rows, probabilities, facts)


def prepare_film(tables: SourceTables, path: Path) -> PreparedRecord:
    """Read, label and letterbox one file; never raises for what is wrong with the file."""
    settings = tables.settings
    file = path.relative_to(settings.images).as_posix()
    try:
        image = read(path)
        image_id = image.source.image_id
        silver = None
        if image_id in tables.mask_rows:
            origin, runs = FROM_MASK, tables.mask_rows[image_id]
        elif image_id in tables.probabilities:
            silver = _silver_label(settings, tables.probabilities[image_id])
            if silver is None:
                return _left_out(settings, file, image_id, AMBIGUOUS)
            origin, runs = FROM_SILVER, []
        else:
            return _left_out(settings, file, image_id, NO_LABEL)
        if image.units is not Units.UNIT_INTERVAL:
            raise InputError(f"{file} is CT; expected a chest X-ray", code="wrong-modality")
        label, mask = _label_and_mask(image, runs, settings.mask_grid)
        label = silver or label
        grid, _ = to_grid(image)
    except InputError as error:
        return PreparedRecord(Record(settings.name, file, FAILED, error.code, str(error)))
    facts = tables.facts.get(image_id, {})
    record = Record(
        settings.name,
        file,
        ROW,
        image_id=image_id,
        # An unknown patient is a patient of its own.
        patient_id=facts.get("patient_id") or image.source.patient_id or image_id,
        split=facts.get("split", ""),
        label=label,
        label_origin=origin,
        view=facts.get("view") or image.source.view_position or "",
        age=facts.get("age", ""),
        sex=facts.get("sex", ""),
        rows=image.shape[0],
        cols=image.shape[1],
    )
    return PreparedRecord(record, grid, mask)


def _silver_label(settings: SourceSettings, probability: float) -> int | None:
    """1 or 0 where a model's probability is high or low enough, None between."""
    if probability < settings.negatives_below:
        return 0
    if settings.positives_from is not None and probability >= settings.positives_from:
        return 1
    return None


def _left_out(settings: SourceSettings, file: str, image_id: str, code: str) -> PreparedRecord:
    return PreparedRecord(Record(settings.name, file, LEFT_OUT, code, image_id=image_id))


def _label_and_mask(
    image: Image, runs: list[str], mask_grid: int | None
) -> tuple[int, NDArray[np.uint8]]:
    """Unite the runs: whether any pixel is marked, and the mask letterboxed like the film.

    The label is that of the original grid: a lesion too thin for the 512×512 grid is still one.
    """
    if not runs:
        return 0, np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    drawn = drawn_mask(runs, (image.shape[0], image.shape[1]), mask_grid)
    return int(drawn.any()), mask_to_grid(drawn)


def _probability(path: Path, image_id: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise DataError(
            f"{path}: the probability of {image_id} must lie between 0 and 1, got {cell!r}"
        )
    return value
