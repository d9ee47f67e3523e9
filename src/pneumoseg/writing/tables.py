"""From findings of films to records, and from records to the tables a run leaves behind.

``predictions.jsonl`` holds one record a finding (:mod:`pneumoseg.storage.record`). The two CSVs say
the same in the format of the SIIM-ACR challenge and are derived from it (:func:`write_tables`), one
record at a time, so that memory does not grow with the number of images. ``failures.csv`` lists
what could not be used.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from pneumoseg import rle
from pneumoseg.storage.files import whole_file
from pneumoseg.storage.record import FindingRecord, LesionRecord
from pneumoseg.study import Finding, Lesion

AGGREGATED_HEADER = ("ImageId", "EncodedPixels")
SPLIT_HEADER = (*AGGREGATED_HEADER, "lesion", "area_px", "area_mm2", "score", "side")
FAILURES_HEADER = ("path", "code", "message")

_LINE_BREAKING = ("Cc", "Cs", "Zl", "Zp")  # control, lone surrogate, line and paragraph separator


def printable(text: str) -> str:
    r"""Show a hostile name on one line of valid UTF-8.

    Control characters, line separators and bytes of a file name that are not UTF-8 become escapes
    such as ``\n`` or ``\udcff``; every other character stays.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _LINE_BREAKING
        else character
        for character in text
    )


def finding_record(
    finding: Finding,
    *,
    path: str | None = None,
    segmenter_threshold: float | None = None,
    spacing_mm: tuple[float, ...] | None = None,
) -> FindingRecord:
    """Turn a finding of a film into what is kept of it, a line of ``predictions.jsonl``.

    Args:
        finding: a finding on a film (rows, cols).
        path: the input's, as it was given; None takes the finding's own.
        segmenter_threshold: pixel threshold of the run; None where it is not known.
        spacing_mm: the film's spacing, for a finding without a mask, which does not hold it.

    Raises:
        ValueError: the finding is not on a film (rows, cols).
    """
    mask, source, detection = finding.mask, finding.source, finding.detection
    if path is None and source.path is not None:
        path = str(source.path)
    if len(finding.shape) != 2:
        raise ValueError(f"tables hold films (rows, cols), got a finding on {finding.shape}")
    return FindingRecord(
        image_id=printable(source.image_id),
        path=None if path is None else printable(path),
        shape=(finding.shape[0], finding.shape[1]),
        spacing_mm=spacing_mm if mask is None else mask.spacing_mm,
        patient_orientation=source.patient_orientation,
        logit=detection.logit,
        probability=detection.probability,
        positive=detection.positive,
        classifier_threshold=detection.threshold,
        segmenter_threshold=segmenter_threshold,
        segmented=mask is not None,
        area_px=0 if mask is None else mask.area_px,
        area_mm2=None if mask is None else mask.area_mm2,
        lesions=tuple(_lesion_record(lesion) for lesion in finding.lesions),
        rle=rle.EMPTY if mask is None else rle.encode(mask.pixels),
        seconds=round(finding.seconds, 4),
        bundle=finding.provenance.bundle,
        bundle_version=finding.provenance.bundle_version,
        software_version=finding.provenance.software_version,
        runtime=finding.provenance.runtime,
        device=finding.provenance.device,
        precision=finding.provenance.precision,
        notes=source.notes,
    )


def failure_line(path: Path | str, code: str, message: str) -> str:
    """Write one row of ``failures.csv``: always one physical line, with its line end."""
    return csv_line((printable(str(path)), code, printable(" ".join(message.split()))))


def aggregated_row(record: FindingRecord) -> tuple[str, str]:
    """One row of the challenge's submission: image and united mask, ``-1`` where empty."""
    return record.image_id, record.rle


def split_rows(record: FindingRecord) -> list[tuple[str, ...]]:
    """One row per lesion, numbered from 1; a single ``-1`` row where there is none.

    ``area_mm2`` is empty where the spacing is unknown, ``side`` where the side is.
    """
    if not record.lesions:
        return [(record.image_id, rle.EMPTY, "", "", "", "", "")]
    return [
        (
            record.image_id,
            lesion.rle,
            str(number),
            str(lesion.area_px),
            "" if lesion.area_mm2 is None else f"{lesion.area_mm2:.2f}",
            f"{lesion.score:.4f}",
            lesion.side or "",
        )
        for number, lesion in enumerate(record.lesions, start=1)
    ]


def write_tables(records: Iterable[FindingRecord], aggregated: Path, split: Path) -> None:
    """Derive ``predictions_aggregated.csv`` and ``predictions_split.csv`` in one pass.

    Args:
        records: as :func:`finding_record` makes them; read once, order kept.
        aggregated: where the one-row-per-image table goes.
        split: where the one-row-per-lesion table goes.

    Raises:
        OSError: the tables cannot be written; neither is then there half.
    """
    with (
        whole_file(split) as split_part,
        whole_file(aggregated) as aggregated_part,
        split_part.open("w", encoding="utf-8", newline="") as split_file,
        aggregated_part.open("w", encoding="utf-8", newline="") as aggregated_file,
    ):
        aggregated_file.write(csv_line(AGGREGATED_HEADER))
        split_file.write(csv_line(SPLIT_HEADER))
        for record in records:
            aggregated_file.write(csv_line(aggregated_row(record)))
            split_file.writelines(csv_line(row) for row in split_rows(record))


def failures_header() -> str:
    """First line of ``failures.csv``, with its line end."""
    return csv_line(FAILURES_HEADER)


def _lesion_record(lesion: Lesion) -> LesionRecord:
    return LesionRecord(
        area_px=lesion.mask.area_px,
        area_mm2=lesion.mask.area_mm2,
        score=lesion.score,
        side=None if lesion.side is None else lesion.side.value,
        rle=rle.encode(lesion.mask.pixels),
    )


def csv_line(cells: Iterable[str]) -> str:
    """Write one row of a CSV, with its line end."""
    row = tuple(cells)
    if any(row) and not any(mark in cell for cell in row for mark in ',"\r\n'):
        return ",".join(row) + "\n"  # csv looks at long run lengths character by character
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()
