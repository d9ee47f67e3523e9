"""The three tables of a CT run, derived from its ``predictions.jsonl`` in one pass.

The challenge's two CSVs have one row a slice (and lesion in it), ``volumes.csv`` one row a volume.
Slices come in order from the head, numbered from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from pneumoseg import rle
from pneumoseg.storage.files import whole_file
from pneumoseg.storage.record import VolumeRecord
from pneumoseg.writing.tables import AGGREGATED_HEADER, SPLIT_HEADER, csv_line

VOLUMES_HEADER = (
    "volume_id",
    "path",
    "study_instance_uid",
    "series_instance_uid",
    "slices",
    "rows",
    "cols",
    "spacing_mm",
    "probability",
    "positive",
    "volume_ml",
    "share_of_hemithorax",
    "side",
    "greatest_thickness_mm",
    "first_slice",
    "last_slice",
    "lesions",
    "notes",
)


def write_volume_tables(
    records: Iterable[VolumeRecord], aggregated: Path, split: Path, volumes: Path
) -> None:
    """Derive ``predictions_aggregated.csv``, ``predictions_split.csv`` and ``volumes.csv``.

    Args:
        records: of volumes; read once, order kept.
        aggregated: one row a slice.
        split: one row a slice and lesion in it.
        volumes: one row a volume.

    Raises:
        OSError: the tables cannot be written; none is then there half.
    """
    with ExitStack() as stack:
        parts = [stack.enter_context(whole_file(path)) for path in (volumes, split, aggregated)]
        by_volume, by_lesion, by_slice = (
            stack.enter_context(part.open("w", encoding="utf-8", newline="")) for part in parts
        )
        by_volume.write(csv_line(VOLUMES_HEADER))
        by_lesion.write(csv_line(SPLIT_HEADER))
        by_slice.write(csv_line(AGGREGATED_HEADER))
        for record in records:
            by_volume.write(csv_line(volume_row(record)))
            by_lesion.writelines(csv_line(row) for row in split_rows(record))
            by_slice.writelines(csv_line((x.image_id, x.rle)) for x in record.slices)


def volume_row(record: VolumeRecord) -> tuple[str, ...]:
    """One row of ``volumes.csv``; unknown values are empty, several notes separated by ``; ``."""
    slices, rows, cols = record.shape
    spacing = record.spacing_mm
    return (
        record.image_id,
        record.path or "",
        record.study_instance_uid or "",
        record.series_instance_uid or "",
        str(slices),
        str(rows),
        str(cols),
        "" if spacing is None else "x".join(f"{step:.4g}" for step in spacing),
        f"{record.probability:.6f}",
        "1" if record.positive else "0",
        _number(record.volume_ml, 2),
        _number(record.share_of_hemithorax, 4),
        record.side or "",
        _number(record.greatest_thickness_mm, 1),
        _number(record.first_slice, 0),
        _number(record.last_slice, 0),
        str(len(record.lesions)),
        "; ".join(record.notes),
    )


def split_rows(record: VolumeRecord) -> Iterator[tuple[str, ...]]:
    """Rows of every slice: one for each lesion in it, or a single ``-1`` row.

    ``lesion`` is the number of the lesion in the volume, the largest first, the same in all of its
    slices; ``score`` and ``side`` are those of the whole lesion, the areas those of this slice.
    """
    of_slice: dict[int, list[tuple[str, ...]]] = {}
    for number, lesion in enumerate(record.lesions, start=1):
        for part in lesion.slices:
            image_id = record.slices[part.slice - 1].image_id
            of_slice.setdefault(part.slice, []).append(
                (
                    image_id,
                    part.rle,
                    str(number),
                    str(part.area_px),
                    _number(part.area_mm2, 2),
                    f"{lesion.score:.4f}",
                    lesion.side or "",
                )
            )
    for number, one in enumerate(record.slices, start=1):
        yield from of_slice.get(number, [(one.image_id, rle.EMPTY, "", "", "", "", "")])


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
