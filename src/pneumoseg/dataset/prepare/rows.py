"""From what became of every file to the cache's tables: rows with their parts, failures, counts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pneumoseg.dataset.cache import CacheRow
from pneumoseg.dataset.prepare.journal import FAILED, ROW, Record
from pneumoseg.dataset.prepare.source import LabelledSource
from pneumoseg.dataset.splits import (
    CALIBRATION,
    EXCLUDED,
    PARTS,
    TEST,
    Fractions,
    SplitImage,
    assign_parts,
)
from pneumoseg.errors import DataError
from pneumoseg.storage.result import write_csv

_COPIED = tuple(field.name for field in fields(CacheRow) if field.name not in ("row", "part"))
"""What a row takes over from its record."""
FAILURE_COLUMNS = ("source", "file", "code", "message")
SHOWN_REASONS = 3
"""How many files are named when none could be used."""

logger = logging.getLogger(__name__)


def rows_with_parts(
    sources: Sequence[LabelledSource], records: Sequence[Record], fractions: Fractions, seed: int
) -> tuple[CacheRow, ...]:
    """Make the cache's rows, in the order of the records, each with its part.

    A patient id means the same person in every source: a film of a training source whose patient
    is evaluated in another source is excluded. Volumes are split source by source, so that every
    part has its share of each.

    Raises:
        DataError: no record is a row.
    """
    made = [record for record in records if record.outcome == ROW]
    if not made:
        reasons = "; ".join(
            f"{record.file}: {record.message or record.code}" for record in records[:SHOWN_REASONS]
        )
        raise DataError(
            f"none of the {len(records)} files of the sources could be used; the first reasons: "
            f"{reasons or 'the folders are empty'}"
        )
    source_of = {source.name: source for source in sources}
    images = [
        SplitImage(
            record.patient_id,
            record.label == 1,
            source_of[record.source].may_evaluate(record),
            record.source if record.volume_id else "",
        )
        for record in made
    ]
    tested = {record.patient_id for record in made if source_of[record.source].parts == TEST}
    parts = assign_parts(images, fractions, seed, tested)
    return tuple(
        CacheRow(
            row=number,
            part=part if source_of[record.source].is_unambiguous(record) else EXCLUDED,
            **{name: getattr(record, name) for name in _COPIED},
        )
        for number, (record, part) in enumerate(zip(made, parts, strict=True))
    )


def write_failures(records: Sequence[Record], path: Path) -> None:
    """Write ``failures.csv``: a line for each file that could not be used, its code and why."""
    failed = [record for record in records if record.outcome == FAILED]
    rows = ([getattr(record, name) for name in FAILURE_COLUMNS] for record in failed)
    write_csv(path, FAILURE_COLUMNS, rows)


def count(
    sources: Sequence[LabelledSource], records: Sequence[Record], rows: Sequence[CacheRow]
) -> dict[str, Any]:
    """Count rows, and what was missing or left out by source, and films and patients by part."""
    return {
        "rows": len(rows),
        "sources": {source.name: _count_source(source, records, rows) for source in sources},
        "parts": {
            part: {
                "images": sum(row.part == part for row in rows),
                "positives": sum(row.part == part and row.label == 1 for row in rows),
                "patients": len({row.patient_id for row in rows if row.part == part}),
            }
            for part in PARTS
        },
    }


def _count_source(
    source: LabelledSource, records: Sequence[Record], rows: Sequence[CacheRow]
) -> dict[str, Any]:
    own = [record for record in records if record.source == source.name]
    met = {record.volume_id or record.image_id for record in own}
    left_out = Counter(record.code for record in own if record.outcome not in (ROW, FAILED))
    parts = Counter(row.part for row in rows if row.source == source.name)
    return {
        "files": len({record.file for record in own}),
        "rows": sum(record.outcome == ROW for record in own),
        "positives": sum(record.outcome == ROW and record.label == 1 for record in own),
        "failed": sum(record.outcome == FAILED for record in own),
        "left_out": dict(sorted(left_out.items())),
        "masks_without_image": len(source.masked - met),
        "by_part": dict(sorted(parts.items())),
    }


def warn(sources: Sequence[LabelledSource], counts: dict[str, Any]) -> None:
    """Say what is missing, in one sentence each; what is merely left out is an info."""
    for name, source in counts["sources"].items():
        if source["failed"]:
            logger.warning(
                "source %s: %d files could not be used; failures.csv says why",
                name,
                source["failed"],
            )
        if source["masks_without_image"]:
            logger.warning(
                "source %s: %d images of its masks CSV have no usable file",
                name,
                source["masks_without_image"],
            )
        for code, number in source["left_out"].items():
            logger.info("source %s: %d files left out: %s", name, number, code)
    splits = any(source.parts == "split" for source in sources)
    for part in (CALIBRATION, TEST) if splits else ():
        if not counts["parts"][part]["positives"]:
            logger.warning(
                "the %s part has %d images and no positive: it cannot be used; are there enough "
                "patients in the sources that are split, and is patient_id one person each?",
                part,
                counts["parts"][part]["images"],
            )
