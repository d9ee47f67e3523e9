"""From one CT volume and its mask to rows of the cache: a row a slice, as films are prepared.

A slice's own mask does not say all: where the lung's rim is cut obliquely, or just above and below
the air, a slice shows a trace of it and its mask has a few pixels or none. Either label of
such a slice would be an accident. So a slice is

- positive, where its mask has ``smallest_mask_px`` pixels or more,
- negative, where its mask and those of the two adjacent slices are empty,
- and *ambiguous* in between: it gets the part ``excluded``, is neither trained on nor measured as a
  slice. In the measurement of whole volumes it counts like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoseg.dataset.prepare.journal import FAILED, LEFT_OUT, ROW, PreparedRecord, Record
from pneumoseg.dataset.prepare.source import files_below
from pneumoseg.dataset.prepare.tables import cells_by_id, present_columns
from pneumoseg.errors import DataError, InputError, UsageError
from pneumoseg.preprocess import Placement, Window, mask_to_grid, slice_to_grid
from pneumoseg.reading.nifti import read_label_map
from pneumoseg.reading.volumes import VolumeFailure, VolumeInput, find_volumes, open_volume
from pneumoseg.settings import at_least
from pneumoseg.study import Geometry, Volume

ENDINGS = (".nii.gz", ".nii")
VOLUME_ID = "volume_id"
ANATOMY, SOURCE = "anatomy", "source"
"""Columns of a table: what the parts are split by, and what ``only`` looks at."""

NO_MASK = "no-mask"
MASK_MISMATCH = "mask-geometry-mismatch"
FROM_MASK = "mask"

SMALLEST_MASK_PX = 30
"""About 15 mm² on a usual chest CT: a gap of two pixels over ten millimetres."""
_AFFINE_WITHIN_MM = 0.01


@dataclass(frozen=True)
class VolumeSourceSettings:
    """One CT data set: NIfTI volumes and masks of pleural air on the same grid."""

    name: str
    """Short name, kept with every row."""
    images: Path
    """Folder of .nii and .nii.gz volumes in HU, walked."""
    masks: Path
    """Folder of masks with the volumes' file names; not 0 is pleural air."""
    table: Path | None = None
    """CSV with volume_id (the file's stem) and, each optional, anatomy and source."""
    only: str = ""
    """Only volumes with this word in the table's source column; empty takes all files."""
    parts: Literal["split", "train", "test"] = "split"
    """Whether anatomies are split into all parts, all train, or all are tested."""
    slices_per_volume: int = 0
    """Slices of a volume taken at most, evenly spread; 0 takes all."""
    smallest_mask_px: int = SMALLEST_MASK_PX
    """Pixels of the 512×512 grid from which a slice is positive; fewer are ambiguous."""

    def __post_init__(self) -> None:
        at_least("slices_per_volume", self.slices_per_volume, 0)
        at_least("smallest_mask_px", self.smallest_mask_px, 1)
        if self.only and self.table is None:
            raise UsageError(f"source {self.name!r}: only needs a table with a source column")


@dataclass(frozen=True)
class VolumeSource:
    """A CT data set, its table read; a :class:`~pneumoseg.dataset.prepare.source.LabelledSource`.

    Attributes:
        window: what slices are stored with.
        facts: volume id -> the columns of the table that there are.
    """

    settings: VolumeSourceSettings
    window: Window
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The source's short name, kept with every row."""
        return self.settings.name

    @property
    def parts(self) -> str:
        """Whether anatomies are split."""
        return self.settings.parts

    @property
    def masked(self) -> Set[str]:
        """Volume ids that have a mask."""
        return {volume_id_of(path) for path in files_below(self.settings.masks) if self.wants(path)}

    def files(self) -> list[Path]:
        """NIfTI files of the folder; with ``only``, those whose row in the table says so."""
        return [path for path in files_below(self.settings.images) if self.wants(path)]

    def wants(self, path: Path) -> bool:
        """Whether a file is of this source."""
        if not path.name.lower().endswith(ENDINGS):
            return False
        only = self.settings.only
        return not only or self.facts.get(volume_id_of(path), {}).get(SOURCE) == only

    def prepare(self, path: Path) -> tuple[PreparedRecord, ...]:
        """One volume, a record for each slice that is taken."""
        return prepare_volume(self, path)

    def may_evaluate(self, record: Record) -> bool:
        """All, unless the source only trains."""
        return self.parts != "train"

    def is_unambiguous(self, record: Record) -> bool:
        """See the module's docstring."""
        is_empty = record.mask_px == record.neighbour_mask_px == 0
        return is_empty or record.mask_px >= self.settings.smallest_mask_px


def volume_id_of(path: Path) -> str:
    """A NIfTI file's name without its ending."""
    ending = next((one for one in ENDINGS if path.name.lower().endswith(one)), "")
    return path.name[: len(path.name) - len(ending)]


def read_volume_source(settings: VolumeSourceSettings, window: Window) -> VolumeSource:
    """Read a source's table.

    Raises:
        UsageError: the table cannot be opened, or the folder of masks is none.
        DataError: it is malformed, lists a volume twice, or no row has the ``only`` word.
    """
    if not settings.masks.is_dir():
        raise UsageError(f"{settings.masks} is not a folder; give the folder that holds the masks")
    if settings.table is None:
        return VolumeSource(settings, window)
    columns = present_columns(settings.table, (ANATOMY, SOURCE))
    facts = cells_by_id(settings.table, VOLUME_ID, columns)
    if settings.only and all(row.get(SOURCE) != settings.only for row in facts.values()):
        raise DataError(
            f"{settings.table} has no row with {settings.only!r} in a source column, so source "
            f"{settings.name!r} would be empty; correct only"
        )
    return VolumeSource(settings, window, facts)


def open_pair(settings: VolumeSourceSettings, path: Path) -> tuple[Volume, NDArray[np.bool_]]:
    """Open a volume and read its mask.

    Args:
        settings: where the mask lies.
        path: of the volume.

    Returns:
        The volume, and bool (slices, rows, cols) on the same canonical axes.

    Raises:
        InputError: one of them cannot be read; ``no-mask``; ``mask-geometry-mismatch``.
    """
    mask_path = settings.masks / path.relative_to(settings.images)
    if not mask_path.is_file():
        raise InputError(f"there is no mask {mask_path}; give one to each volume", code=NO_MASK)
    volume = open_volume(_found(path))
    labels = read_label_map(_found(mask_path).path)
    if labels.labels.shape != volume.shape or not _same_place(labels.geometry, volume.geometry):
        raise InputError(
            f"the mask {labels.labels.shape} and the volume {volume.shape} do not lie on one grid; "
            "give the mask with the volume's size and affine",
            code=MASK_MISMATCH,
        )
    return volume, labels.labels != 0


def _found(path: Path) -> VolumeInput:
    """A NIfTI file as what it is by its first bytes, or the reason why it is none."""
    (found,) = find_volumes([path])
    if isinstance(found, VolumeFailure):
        raise InputError(f"{path.name}: {found.message}", code=found.code)
    return found


def prepare_volume(source: VolumeSource, path: Path) -> tuple[PreparedRecord, ...]:
    """Read, label and letterbox the chosen slices; never raises for what is wrong with the file."""
    settings = source.settings
    file = path.relative_to(settings.images).as_posix()
    volume_id = volume_id_of(path)
    try:
        volume, mask = open_pair(settings, path)
        return tuple(_rows(source, file, volume, mask))
    except InputError as error:
        outcome = LEFT_OUT if error.code == NO_MASK else FAILED
        return (
            PreparedRecord(
                Record(settings.name, file, outcome, error.code, str(error), volume_id=volume_id)
            ),
        )


def _rows(
    source: VolumeSource, file: str, volume: Volume, mask: NDArray[np.bool_]
) -> Iterator[PreparedRecord]:
    volume_id = volume.source.image_id
    facts = source.facts.get(volume_id, {})
    placement = Placement.letterbox(*volume.shape[1:])
    own = mask_areas(mask, placement.source_pixels_per_grid_pixel)
    beside = neighbours_most(own)
    chosen = spread_evenly(volume.shape[0], source.settings.slices_per_volume)
    for index, hu in enumerate(volume.slices()):
        if index not in chosen:
            continue
        grid, _ = slice_to_grid(hu, source.window)
        record = Record(
            source.name,
            file,
            ROW,
            image_id=f"{volume_id}_{index}",
            patient_id=facts.get(ANATOMY) or volume_id,
            label=int(own[index] >= source.settings.smallest_mask_px),
            label_origin=FROM_MASK,
            rows=volume.shape[1],
            cols=volume.shape[2],
            volume_id=volume_id,
            slice_index=index,
            mask_px=int(own[index]),
            neighbour_mask_px=int(beside[index]),
            of_file=len(chosen),
        )
        yield PreparedRecord(record, grid, mask_to_grid(mask[index]))


def mask_areas(mask: NDArray[np.bool_], pixels_per_grid_pixel: float) -> NDArray[np.int64]:
    """Area of each slice's mask in pixels of the 512×512 grid, int64 (slices,).

    Rounded up, so that a mask that is there is never rounded to none.
    """
    areas = np.count_nonzero(mask, axis=(1, 2)) / pixels_per_grid_pixel
    return np.asarray(np.ceil(areas), dtype=np.int64)


def neighbours_most(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The larger of the two adjacent slices' areas, (slices,) each; beyond the ends is nothing."""
    padded = np.pad(areas, 1)
    return np.asarray(np.maximum(padded[:-2], padded[2:]))


def spread_evenly(slices: int, most: int) -> Set[int]:
    """Indices of at most ``most`` of some slices, first and last among them; 0 takes all."""
    if not most or slices <= most:
        return frozenset(range(slices))
    return frozenset(np.linspace(0, slices - 1, most).round().astype(int).tolist())


def _same_place(first: Geometry | None, second: Geometry | None) -> bool:
    if first is None or second is None:
        return False
    return bool(np.allclose(first.affine, second.affine, rtol=0, atol=_AFFINE_WITHIN_MM))
