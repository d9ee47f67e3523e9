"""The HTML page of a finished run: films read again, outlines taken from the run's records.

The networks are not run: a page can be made long after the run, as long as the films lie where they
lay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoseg import rle
from pneumoseg.errors import DataError, InputError
from pneumoseg.reading import read
from pneumoseg.reading.siim_csv import read_mask_rows
from pneumoseg.study import Mask
from pneumoseg.writing.report import ReportRow, report_row_of_record, write_report
from pneumoseg.writing.tables import read_records

JOURNAL = "predictions.jsonl"
PAGE = "index.html"
MOST_FILMS = 300
"""A page holds its pictures; beyond this many films the tables are the better view."""


@dataclass(frozen=True)
class PageSettings:
    """What ``pneumoseg page`` is asked to do."""

    run: Path
    """Folder that pneumoseg predict wrote."""
    masks: Path | None = None
    """SIIM CSV of the true masks on the films' own grids, drawn in blue."""
    title: str = "CT-PneumoSeg"
    """Heading of the page."""


def write_run_page(
    run: Path, *, masks: Path | None = None, title: str, introduction: str = ""
) -> tuple[Path, tuple[ReportRow, ...]]:
    """Write ``index.html`` into a run's folder.

    Args:
        run: folder that ``pneumoseg predict`` wrote.
        masks: SIIM CSV of the true masks on the films' own grids, drawn beside the outlines.
        title: heading of the page.
        introduction: one or two plain sentences under it.

    Returns:
        The page, and its rows in the order of the run.

    Raises:
        DataError: the folder holds no finished run, or more than :data:`MOST_FILMS` films, or a
            film of the run can no longer be read.
    """
    if not (run / JOURNAL).is_file():
        raise DataError(f"{run} has no {JOURNAL}; give a folder that pneumoseg predict wrote")
    truths = read_mask_rows(masks) if masks is not None else None
    rows: list[ReportRow] = []
    facts: tuple[tuple[str, str], ...] = ()
    for record in read_records(run / JOURNAL):
        if len(rows) == MOST_FILMS:
            raise DataError(f"{run} holds more than {MOST_FILMS} films, too many for one page")
        rows.append(_row(record, truths))
        facts = (
            ("Bundle", f"{record['bundle']} {record['bundle_version']}"),
            ("Software", f"pneumoseg {record['software_version']}"),
            ("Runtime", f"{record['runtime']}, {record['precision']}"),
            ("Suspected from", f"probability {record['classifier_threshold']:.3f}"),
        )
    path = run / PAGE
    write_report(path, rows, title=title, introduction=introduction, facts=facts)
    return path, tuple(rows)


def _row(record: Mapping[str, Any], truths: Mapping[str, list[str]] | None) -> ReportRow:
    try:
        image = read(record["path"])
    except InputError as error:
        raise DataError(
            f"the film {record['path']} can no longer be read ({error}); a page needs the films "
            "where they lay when they were predicted"
        ) from error
    shape = (int(record["shape"][0]), int(record["shape"][1]))
    truth = None
    if truths is not None and record["image_id"] in truths:
        truth = Mask(rle.decode_union(truths[record["image_id"]], shape), image.spacing_mm)
    return report_row_of_record(image, record, truth=truth)
