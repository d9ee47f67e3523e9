"""The HTML page of a finished run: films and slices read again, outlines taken from its records.

The networks are not run: a page can be made long after the run, as long as the inputs lie where
they lay. A CT is shown by one slice, the one with the largest outline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg import rle
from pneumoseg.errors import DataError, InputError
from pneumoseg.prediction.run_folder import RunFolder
from pneumoseg.prediction.volumes.entry import VolumeEntry
from pneumoseg.prediction.volumes.record import canonical_plane
from pneumoseg.preprocess import Window
from pneumoseg.reading import read
from pneumoseg.reading.siim_csv import read_mask_rows
from pneumoseg.reading.volumes import open_volume
from pneumoseg.storage.record import (
    FINDINGS,
    AnyRecord,
    FindingRecord,
    VolumeRecord,
    numbered_records,
)
from pneumoseg.study import Mask, Volume
from pneumoseg.writing.montage import Plane, draw_plane
from pneumoseg.writing.report import (
    THUMBNAIL_SIDE,
    ReportRow,
    jpeg_of,
    report_row,
    write_report,
)

PAGE = "index.html"
MOST_FILMS = 300
"""A page holds its pictures; beyond this many films the tables are the better view."""

_Truths = Mapping[str, list[str]]


@dataclass(frozen=True)
class PageSettings:
    """What ``pneumoseg page`` is asked to do."""

    run: Path
    """Folder that pneumoseg predict wrote."""
    masks: Path | None = None
    """SIIM CSV of the true masks on the films' or slices' own grids, drawn in blue."""
    title: str = "CT-PneumoSeg"
    """Heading of the page."""


def write_run_page(
    run: Path,
    *,
    masks: Path | None = None,
    title: str,
    introduction: str = "",
    beside: Sequence[tuple[Path, Path | None]] = (),
) -> tuple[Path, tuple[ReportRow, ...]]:
    """Write ``index.html`` into a run's folder.

    Args:
        run: folder that ``pneumoseg predict`` wrote.
        masks: SIIM CSV of the true masks on the films' own grids (for CT, the slices'), drawn
            beside the outlines.
        title: heading of the page.
        introduction: one or two plain sentences under it.
        beside: folders of further runs, each with its own ``masks``; their studies come after
            those of ``run``.

    Returns:
        The page, and its rows in the order of the runs.

    Raises:
        DataError: a folder holds no finished run, there are more than :data:`MOST_FILMS` studies,
            or one of them can no longer be read.
    """
    rows: list[ReportRow] = []
    facts: dict[tuple[str, str], None] = {}
    for folder, true_masks in ((run, masks), *beside):
        if not (folder / FINDINGS).is_file():
            raise DataError(
                f"{folder} has no {FINDINGS}; give a folder that pneumoseg predict wrote"
            )
        truths = read_mask_rows(true_masks) if true_masks is not None else None
        for row, record in _rows(folder, truths):
            if len(rows) == MOST_FILMS:
                raise DataError(f"{run} holds more than {MOST_FILMS} films, too many for one page")
            rows.append(row)
            facts |= dict.fromkeys(_facts(record))
    path = run / PAGE
    write_report(path, rows, title=title, introduction=introduction, facts=tuple(facts))
    return path, tuple(rows)


def _facts(record: AnyRecord) -> tuple[tuple[str, str], ...]:
    return (
        ("Bundle", f"{record.bundle} {record.bundle_version}"),
        ("Software", f"pneumoseg {record.software_version}"),
        ("Runtime", f"{record.runtime} on {record.device}, {record.precision}"),
        ("Suspected from", f"probability {record.classifier_threshold:.3f}"),
    )


def _rows(run: Path, truths: _Truths | None) -> Iterator[tuple[ReportRow, AnyRecord]]:
    """Rows of one run; its volumes are found again through its manifest."""
    volumes = _Volumes(run)
    for where, record in numbered_records(run / FINDINGS):
        if record.path is None:
            raise DataError(f"{where}: field 'path' is null; predict again to make a page")
        try:
            if isinstance(record, VolumeRecord):
                yield _volume_row(record, volumes.open(record.path), truths), record
            else:
                yield _film_row(record, record.path, truths), record
        except InputError as error:
            raise DataError(
                f"{record.path} can no longer be read ({error}); a page needs the films "
                "and volumes where they lay when they were predicted"
            ) from error


def _film_row(record: FindingRecord, path: str, truths: _Truths | None) -> ReportRow:
    image = read(path)
    truth = None
    if truths is not None and record.image_id in truths:
        truth = Mask(rle.decode_union(truths[record.image_id], record.shape), image.spacing_mm)
    return report_row(image, record, truth=truth)


class _Volumes:
    """Opens the volumes of a run again, in the order of its manifest."""

    def __init__(self, run: Path) -> None:
        folder = RunFolder(run, VolumeEntry)
        call = (folder.read_run() or {"call": {}})["call"]
        center, width = call.get("window_center"), call.get("window_width")
        self._window = None if center is None or width is None else Window(center, width)
        self._entries = folder.read_manifest()

    def open(self, path: str) -> Volume:
        for entry in self._entries:
            found = entry.volume()
            if entry.path == path and found is not None:
                return open_volume(found, window=self._window)
        raise InputError("it is not in the run's manifest", code="unreadable")


def _volume_row(record: VolumeRecord, volume: Volume, truths: _Truths | None) -> ReportRow:
    """One volume by one of its slices."""
    index = _slice_to_show(record)
    hu = next(volume.slices(index, index + 1))
    geometry, (rows, cols) = volume.geometry, record.slice_shape
    one = record.slices[index]
    true_plane, truth = None, None
    if truths is not None:
        known = [truths[x.image_id] for x in record.slices if x.image_id in truths]
        truth = any(not rle.is_empty(text) for texts in known for text in texts) if known else None
        if one.image_id in truths:
            decoded = rle.decode_union(truths[one.image_id], (rows, cols))
            true_plane = canonical_plane(decoded, geometry)
    steps = volume.spacing_mm or (1.0, 1.0, 1.0)
    plane = Plane(
        hu,
        canonical_plane(rle.decode(one.rle, (rows, cols)), geometry),
        (steps[1], steps[2]),
        f"slice {index + 1} of {len(record.slices)}",
        true_plane,
    )
    lesions = record.lesions
    return ReportRow(
        name=record.image_id,
        probability=record.probability,
        threshold=record.classifier_threshold,
        suspected=record.positive,
        lesions=len(lesions),
        sides=tuple(sorted({lesion.side for lesion in lesions if lesion.side})),
        area_px=record.voxels,
        area_mm2=None,
        truth=truth,
        picture_jpeg=jpeg_of(draw_plane(plane, THUMBNAIL_SIDE)),
        is_ct=True,
        volume_ml=record.volume_ml,
    )


def _slice_to_show(record: VolumeRecord) -> int:
    """Index of the slice with the largest outline; where there is none, of the most suspicious."""
    areas = np.zeros(len(record.slices), dtype=np.int64)
    for lesion in record.lesions:
        for part in lesion.slices:
            areas[part.slice - 1] += part.area_px
    if areas.any():
        return int(np.argmax(areas))
    return int(np.argmax([one.probability for one in record.slices]))
