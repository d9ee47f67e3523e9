"""The prepared training cache, as opened: films and masks on the 512×512 grid, and their table.

A cache is a folder that ``pneumoseg prepare`` makes (:mod:`pneumoseg.dataset.prepare.run`):

- ``images.u8``, ``masks.u8``: raw uint8 (N, 512, 512), row after row. The mask file is sparse:
  negatives take no room on disk.
- ``table.csv``: one line a row, the columns of :class:`CacheRow`. It may hold patient identifiers,
  as the sources do: treat it as they are to be treated.
- ``failures.csv``: films that could not be used, and why.
- ``cache.json``: format, grid, settings, counts; written last, so that a cache with it is finished.

A cache holds films (format 1) or slices of CT volumes (format 2): the same arrays, shown through
the window that ``cache.json`` names, and four more columns in the table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.dataset.splits import PARTS, check_disjoint
from pneumoseg.errors import DataError, UsageError
from pneumoseg.preprocess import GRID_SIZE, Window
from pneumoseg.storage.result import write_csv
from pneumoseg.study import Modality

FORMAT_OF = {Modality.XRAY: 1, Modality.CT: 2}
"""Format of a cache by what it holds; a format is read as long as it stands here."""
IMAGES_FILE = "images.u8"
MASKS_FILE = "masks.u8"
TABLE_FILE = "table.csv"
FAILURES_FILE = "failures.csv"
CACHE_FILE = "cache.json"
ROW_BYTES = GRID_SIZE * GRID_SIZE


@dataclass(frozen=True)
class CacheRow:
    """One film or slice of the cache: a line of ``table.csv``."""

    row: int
    """Index into ``images`` and ``masks``."""
    image_id: str
    """SOPInstanceUID of a DICOM file, the stem of another; ``VOLUME_SLICE``; unique in a cache."""
    source: str
    """Name of the source it came from."""
    patient_id: str
    """The image id itself where the patient is unknown."""
    part: str
    """One of ``splits.PARTS``."""
    label: int
    """1 where the united mask has a pixel on its original grid (a slice: enough air), else 0."""
    label_origin: str
    """``mask``: the source's CSV of masks; ``silver``: a model's low or high probability."""
    view: str
    """PA, AP or another word of the source; empty when unknown."""
    age: str
    """As the source's table writes it; empty when unknown."""
    sex: str
    """As the source's table writes it; empty when unknown."""
    rows: int
    """Height of the original film in pixels."""
    cols: int
    """Width of the original film in pixels."""
    file: str
    """Path below the source's image folder."""
    volume_id: str = ""
    """CT: the volume that the slice is of."""
    slice_index: int = -1
    """CT: place in the volume, 0 nearest the head."""
    mask_px: int = 0
    """CT: pleural air in the slice, in pixels of the 512×512 grid."""
    neighbour_mask_px: int = 0
    """CT: pleural air in the one of the two adjacent slices that has more, in the same pixels."""


COLUMNS = tuple(field.name for field in fields(CacheRow))
FILM_COLUMNS = COLUMNS[: COLUMNS.index("volume_id")]
"""What the table of a cache of films has; that of slices has all."""
_NUMBERS = {"row", "label", "rows", "cols", "slice_index", "mask_px", "neighbour_mask_px"}


@dataclass(frozen=True, eq=False)
class Cache:
    """A finished cache, opened read-only; cheap to pickle (it is opened anew on the other side).

    Attributes:
        folder: where it lies.
        images: uint8 (N, 512, 512) memory map, 0 black to 255 white, letterboxed.
        masks: uint8 (N, 512, 512) memory map of 0 and 1, on the same grid.
        rows: the table, ``rows[i].row == i``.
        about: what ``cache.json`` says: settings, counts by source and by part.
    """

    folder: Path
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    rows: tuple[CacheRow, ...]
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Cache:
        """Open a cache.

        Raises:
            DataError: no finished cache of this format, or its files do not fit together.
        """
        about = read_about(folder)
        if about is None:
            raise DataError(
                f"{folder} is not a finished training cache (it has no {CACHE_FILE}); "
                "run pneumoseg prepare on it (again): a stopped run is resumed"
            )
        formats = tuple(FORMAT_OF.values())
        if about.get("format") not in formats or about.get("grid") != GRID_SIZE:
            raise DataError(
                f"{folder} is a cache of format {about.get('format')} on a grid of "
                f"{about.get('grid')}; this version reads formats {formats} on {GRID_SIZE}; "
                "prepare it again"
            )
        rows = read_table(folder / TABLE_FILE)
        if len(rows) != about.get("rows") or not rows:
            raise DataError(
                f"{folder / TABLE_FILE} has {len(rows)} rows where {CACHE_FILE} says "
                f"{about.get('rows')}; prepare the cache again"
            )
        check_disjoint([row.patient_id for row in rows], [row.part for row in rows])
        images = _map_rows(folder / IMAGES_FILE, len(rows))
        masks = _map_rows(folder / MASKS_FILE, len(rows))
        return cls(folder, images, masks, rows, about)

    def __reduce__(self) -> tuple[Callable[[Path], Cache], tuple[Path]]:
        # A pickled memory map would carry all its gigabytes to each loader process.
        return Cache.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def modality(self) -> Modality:
        """What the cache holds: films, or slices of CT volumes."""
        return next(kind for kind, number in FORMAT_OF.items() if number == self.about["format"])

    @property
    def window(self) -> Window | None:
        """The HU that slices were stored with; None of films."""
        if self.modality is not Modality.CT:
            return None
        window = self.about["settings"]["window"]
        return Window(float(window["center"]), float(window["width"]))

    def part(self, name: str) -> NDArray[np.int64]:
        """Row indices of one part, ascending, int64 (n,); empty when no film is in it.

        Raises:
            UsageError: there is no part of this name.
        """
        if name not in PARTS:
            raise UsageError(f"there is no part {name!r}; the parts are {', '.join(PARTS)}")
        return np.array([row.row for row in self.rows if row.part == name], dtype=np.int64)

    @cached_property
    def labels(self) -> NDArray[np.int8]:
        """Label of each row, int8 (N,): 1 pneumothorax, 0 none."""
        return np.array([row.label for row in self.rows], dtype=np.int8)

    @cached_property
    def has_mask(self) -> NDArray[np.bool_]:
        """Whether a row's mask can be trusted, bool (N,): not of silver positives."""
        silver = np.array([row.label_origin == "silver" for row in self.rows], dtype=np.bool_)
        trusted: NDArray[np.bool_] = ~(silver & (self.labels == 1))
        return trusted

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """Patient of each row, str (N,): the groups of a bootstrap by patient."""
        return np.array([row.patient_id for row in self.rows], dtype=np.str_)

    @cached_property
    def sources(self) -> NDArray[np.str_]:
        """Source name of each row, str (N,)."""
        return np.array([row.source for row in self.rows], dtype=np.str_)


def read_about(folder: Path) -> dict[str, Any] | None:
    """Read ``cache.json``, or None where the folder has none.

    Raises:
        DataError: the file is there but not a JSON object.
    """
    path = folder / CACHE_FILE
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}; prepare the cache again") from error
    if not isinstance(about, dict):
        raise DataError(f"{path} must hold a JSON object; prepare the cache again")
    return about


def write_table(rows: tuple[CacheRow, ...], path: Path) -> None:
    """Write ``table.csv``: one column a field of :class:`CacheRow`, those of slices for slices."""
    names = COLUMNS if any(row.volume_id for row in rows) else FILM_COLUMNS
    write_csv(path, names, ([getattr(row, name) for name in names] for row in rows))


def read_table(path: Path) -> tuple[CacheRow, ...]:
    """Read ``table.csv`` back.

    Raises:
        DataError: missing, other columns, a word where a number belongs, or rows out of order.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            names = tuple(next(reader, []))
            if names not in (FILM_COLUMNS, COLUMNS):
                raise DataError(
                    f"{path} must have the columns {','.join(FILM_COLUMNS)}, and of CT slices "
                    f"{','.join(COLUMNS[len(FILM_COLUMNS) :])} behind them"
                )
            rows = [
                CacheRow(
                    **{
                        name: int(cell) if name in _NUMBERS else cell
                        for name, cell in zip(names, cells, strict=True)
                    }  # type: ignore[arg-type]
                )
                for cells in reader
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; prepare the cache again") from error
    if [row.row for row in rows] != list(range(len(rows))):
        raise DataError(f"{path}: the rows must be numbered 0, 1, 2, ...; prepare the cache again")
    return tuple(rows)


def _map_rows(path: Path, rows: int) -> NDArray[np.uint8]:
    """Map a file of ``rows`` grids read-only: uint8 (rows, 512, 512)."""
    size = path.stat().st_size if path.is_file() else 0
    if size != rows * ROW_BYTES:
        raise DataError(
            f"{path} has {size} bytes, expected {rows * ROW_BYTES} ({rows} films of "
            f"{GRID_SIZE}×{GRID_SIZE}); prepare the cache again"
        )
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(rows, GRID_SIZE, GRID_SIZE))
